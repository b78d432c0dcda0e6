"""`headrace doctor` names what is wrong with a Redis; each fault is made on one of its own."""

from __future__ import annotations

import json
import resource
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from typer.testing import CliRunner

from headrace.cli import app
from headrace.embedded_redis import find_server
from tests.conftest import RedisServer

Found = dict[str, Any]


@pytest.fixture
def client(own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch) -> Iterator[redis.Redis]:
    monkeypatch.setenv("HEADRACE_REDIS_URL", own_redis.url)
    with redis.Redis.from_url(own_redis.url) as client:
        yield client


def doctor(*words: str) -> tuple[list[Found], int]:
    result = CliRunner().invoke(app, ["doctor", "--json", *words])
    assert result.stdout, result.output
    return [one for one in json.loads(result.stdout) if one["level"] != "ok"], result.exit_code


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        ("maxmemory-policy", "allkeys-lru", "CONFIG SET maxmemory-policy noeviction"),
        ("appendonly", "no", "CONFIG SET appendonly yes"),
        ("appendfsync", "everysec", "CONFIG SET appendfsync always"),
    ],
)
def test_a_wrong_setting_is_named_with_the_right_one(
    client: redis.Redis, name: str, value: str, says: str
) -> None:
    client.config_set(name, value)
    [fault], code = doctor()
    assert (fault["name"], fault["level"], code) == ("settings", "error", 1)
    assert says in fault["says"]


def test_a_redis_that_hides_its_settings_is_unverified(
    client: redis.Redis, own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    client.acl_setuser(
        "app", enabled=True, passwords=["+secret"], categories=["+@all"], commands=["-config"],
        keys=["*"], channels=["*"],
    )  # fmt: skip
    url = own_redis.url.replace("unix://", "unix://app:secret@")
    monkeypatch.setenv("HEADRACE_REDIS_URL", url)
    [fault], code = doctor()
    assert (fault["name"], fault["level"], code) == ("settings", "warning", 0)
    assert "unverified" in fault["says"]
    assert doctor("--strict")[1] == 1


def test_replicated_without_a_replica_is_an_error(
    client: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_DURABILITY", "replicated")
    faults, code = doctor()
    assert code == 1
    assert [one["name"] for one in faults if one["level"] == "error"] == ["replicas"]


def test_memory_over_the_limit_of_submits_is_an_error(client: redis.Redis) -> None:
    client.config_set("maxmemory", int(client.info("memory")["used_memory"] / 0.8))
    [fault], code = doctor()
    assert (fault["name"], code) == ("memory", 1)
    assert "submits are refused" in fault["says"]


def test_keys_that_were_evicted_are_told_of_afterwards(client: redis.Redis) -> None:
    client.config_set("maxmemory-policy", "allkeys-lru")
    client.config_set("maxmemory", client.info("memory")["used_memory"] + (1 << 20))
    for number in range(3000):
        client.set(f"filler:{number}", b"x" * 1024)
    client.config_set("maxmemory", 0)
    client.config_set("maxmemory-policy", "noeviction")
    [fault], code = doctor()
    assert (fault["name"], code) == ("evictions", 1)


def test_a_log_that_could_not_be_written_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    folder = Path(tempfile.mkdtemp(prefix="hr-"))
    command = [find_server().path, "--port", "0", "--unixsocket", str(folder / "r.sock")]
    command += ["--dir", str(folder), "--save", "", "--appendonly", "yes"]
    command += ["--appendfsync", "everysec", "--maxmemory-policy", "noeviction"]
    # Python ignores SIGXFSZ, and so does what it starts this way.
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, restore_signals=False)
    try:
        with redis.Redis(unix_socket_path=str(folder / "r.sock")) as client:
            _fill(client, process.pid)
        monkeypatch.setenv("HEADRACE_REDIS_URL", f"unix://{folder / 'r.sock'}")
        monkeypatch.setenv("HEADRACE_DURABILITY", "everysec")
        faults, code = doctor("--quick")
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)
    assert code == 1
    assert "Redis could not write its log" in [one["says"] for one in faults]


def _fill(client: redis.Redis, pid: int) -> None:
    # A file may not grow beyond this: to Redis the disk is full.
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (1 << 18, 1 << 18))
    until = time.monotonic() + 20
    while time.monotonic() < until:
        try:
            client.set("filler", b"x" * (1 << 15))
            if client.info("persistence")["aof_last_write_status"] != "ok":
                return
        except redis.ConnectionError:
            time.sleep(0.05)
        except redis.RedisError:
            return
    pytest.fail("the log was never full")
