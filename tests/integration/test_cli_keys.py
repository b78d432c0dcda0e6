"""Keys from the command line, straight into Redis."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from headrace.cli import app

Route = tuple[str, str]


def headrace(*words: str, given: str | None = None) -> Result:
    return CliRunner().invoke(app, list(words), input=given)


def test_keys_are_made_listed_and_revoked(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_REDIS_URL", redis_url)
    made = headrace("keys", "create", "--role", "admin", "--tenant", "acme", "--name", "laptop")
    secret = made.stdout.strip()
    assert secret.startswith("hr_")
    assert "role admin, tenant acme" in made.stderr
    (listed,) = json.loads(headrace("keys", "ls", "--json").stdout)
    assert (listed["role"], listed["tenant"], listed["name"]) == ("admin", "acme", "laptop")
    assert "digest" not in listed
    assert secret.split("_")[2] not in str(listed)
    assert listed["id"] in headrace("keys", "ls").stdout
    assert headrace("keys", "revoke", secret).exit_code == 0
    (revoked,) = json.loads(headrace("keys", "ls", "--json").stdout)
    assert revoked["revoked_at"]
    assert headrace("keys", "revoke", "nobody").exit_code == 2
    assert "key" in json.loads(headrace("keys", "create", "--json").stdout)


def test_keys_refuse_what_is_wrong(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_REDIS_URL", redis_url)
    assert headrace("keys", "create", "--role", "king").exit_code == 2
    assert headrace("keys", "create", "--tenant", "Bad Name").exit_code == 2


def test_keys_without_redis_say_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADRACE_REDIS_URL", raising=False)
    monkeypatch.setenv("HEADRACE_DATA_DIR", str(tmp_path))
    done = headrace("keys", "ls")
    assert done.exit_code == 3
    assert "start headrace up, or set HEADRACE_REDIS_URL" in done.stderr
