"""`headrace webhooks`, `submit --webhook` and `dead … --webhooks`."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jobs.webhook_secrets import key_of
from tests.integration.cli_rig import FakeServer, headrace, job, problem

URL = "https://example.com/hook"
TRY = {"at": "2026-01-01T00:00:00.000Z", "outcome": "status_500", "status": 500, "seconds": 0.1}
TOLD: dict[str, Any] = {
    "id": "wh_1",
    "type": "job.failed",
    "url": URL,
    "status": "failed",
    "created_at": "2026-01-01T00:00:00.000Z",
    "next_at": None,
    "tries": [TRY],
}
DEAD = {**TOLD, "tenant": "acme", "job": "job_1", "batch": None, "endpoint": "e"}
PATH = "/v1/jobs/job_1/webhooks"
DEAD_PATH = "/v1/admin/dead/webhooks"


def test_submit_says_where_events_go(server: FakeServer) -> None:
    server.on("POST", "/v1/models/echo/jobs", (202, job()))
    options = ["--webhook-event", "job.failed", "--webhook-event", "job.started"]
    options += ["--webhook-secret", "x" * 16]
    assert headrace("submit", "echo", "1", "--webhook", URL, *options).exit_code == 0
    assert headrace("submit", "echo", "1", "--webhook", URL).exit_code == 0
    events = ["job.failed", "job.started"]
    assert [body["webhook"] for body in server.bodies] == [
        {"url": URL, "events": events, "secret": "x" * 16},
        {"url": URL},
    ]
    assert headrace("submit", "echo", "1", *options).exit_code == 2


def test_submit_says_why_a_url_is_refused(server: FakeServer) -> None:
    server.on("POST", "/v1/models/echo/jobs", (422, problem("webhook_url_forbidden")))
    done = headrace("submit", "echo", "1", "--webhook", "https://localhost")
    assert done.exit_code == 2
    assert "that is why" in done.stderr


def test_deliveries_are_listed_and_sent_again(server: FakeServer) -> None:
    server.on("GET", PATH, (200, {"data": [TOLD]}))
    listed = headrace("webhooks", "ls", "job_1").stdout
    for word in ("wh_1", "job.failed", "status_500", URL):
        assert word in listed
    assert json.loads(headrace("webhooks", "ls", "job_1", "--json").stdout) == [TOLD]
    server.on("GET", "/v1/batches/bat_1/webhooks", (200, {"data": []}))
    assert headrace("webhooks", "ls", "bat_1").exit_code == 0
    again = {**TOLD, "status": "pending"}
    server.on("POST", f"{PATH}/wh_1/replay", (202, again))
    assert headrace("webhooks", "replay", "job_1", "wh_1").stdout == "wh_1 pending\n"
    done = headrace("webhooks", "replay", "job_1", "wh_1", "--json")
    assert json.loads(done.stdout) == again
    server.on("POST", f"{PATH}/wh_2/replay", (404, problem("no_such_webhook")))
    assert headrace("webhooks", "replay", "job_1", "wh_2").exit_code == 2


def test_endpoints(server: FakeServer) -> None:
    endpoint = {"id": "e1", "tenant": "acme", "url": URL, "status": "disabled", "reason": "gone"}
    endpoint |= {"failing_since": None, "disabled_at": "2026-01-01T00:00:00.000Z"}
    server.on("GET", "/v1/admin/webhook-endpoints", (200, {"data": [endpoint]}))
    assert "disabled" in headrace("webhooks", "endpoints", "ls").stdout
    done = headrace("webhooks", "endpoints", "ls", "--json")
    assert json.loads(done.stdout) == [endpoint]
    server.on("POST", "/v1/admin/webhook-endpoints/e1/enable", (204, None))
    assert headrace("webhooks", "endpoints", "enable", "e1").exit_code == 0
    server.on("POST", "/v1/admin/webhook-endpoints/e2/enable", (404, problem("not_found")))
    assert headrace("webhooks", "endpoints", "enable", "e2").exit_code == 2


def test_dead_deliveries(server: FakeServer) -> None:
    more = {**DEAD, "id": "wh_2", "job": None, "batch": "bat_1"}
    pages = [
        (200, {"data": [DEAD], "next_cursor": "c"}),
        (200, {"data": [more], "next_cursor": None}),
    ]
    server.on("GET", DEAD_PATH, *pages)
    listed = headrace("dead", "ls", "--webhooks").stdout
    for word in ("wh_1", "wh_2", "acme", "bat_1", "status_500"):
        assert word in listed
    server.on("GET", DEAD_PATH, *pages)
    done = headrace("dead", "ls", "--webhooks", "--limit", "1", "--json")
    assert json.loads(done.stdout) == [DEAD]

    server.on("GET", DEAD_PATH, *pages)
    server.on("POST", f"{DEAD_PATH}/wh_1/replay", (202, DEAD))
    server.on("POST", f"{DEAD_PATH}/wh_2/replay", (404, problem("no_such_webhook")))
    done = headrace("dead", "retry", "--webhooks", "--all")
    assert done.exit_code == 2
    assert done.stdout == "wh_1 replayed\nwh_2 refused no_such_webhook: that is why\n"
    assert headrace("dead", "retry", "--webhooks", "wh_1").exit_code == 0

    server.on("DELETE", f"{DEAD_PATH}/wh_1", (204, None))
    done = headrace("dead", "purge", "--webhooks", "wh_1", "--json")
    purged = {"id": "wh_1", "status": "purged", "job": None, "error": None}
    assert json.loads(done.stdout) == [purged]
    server.on("DELETE", f"{DEAD_PATH}/wh_1", (403, problem("forbidden")))
    assert headrace("dead", "purge", "--webhooks", "wh_1").exit_code == 2


@pytest.mark.parametrize("verb", ["retry", "purge"])
def test_dead_deliveries_are_chosen(verb: str) -> None:
    assert headrace("dead", verb, "--webhooks").exit_code == 2
    assert headrace("dead", verb, "--webhooks", "--all", "--model", "echo").exit_code == 2


def test_secrets_are_made_and_rotated(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HEADRACE_REDIS_URL", redis_url)
    made = headrace("webhooks", "secret", "create")
    assert made.exit_code == 0
    assert len(key_of(made.stdout.strip())) == 32
    assert "tenant default" in made.stderr
    again = headrace("webhooks", "secret", "create")
    assert again.exit_code == 2
    assert "rotate" in again.stderr
    rotated = headrace("webhooks", "secret", "rotate", "--overlap-s", "60")
    assert rotated.stdout.strip() not in ("", made.stdout.strip())
    assert "60 s" in rotated.stderr
    wrong = headrace("webhooks", "secret", "rotate", "--tenant", "acme")
    assert wrong.exit_code == 2
    told = json.loads(headrace("webhooks", "secret", "create", "--tenant", "acme", "--json").stdout)
    assert told["tenant"] == "acme"
    assert told["secret"].startswith("whsec_")
    assert headrace("webhooks", "secret", "create", "--tenant", "No Name").exit_code == 2


def test_secrets_without_redis(tmp_path: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HEADRACE_REDIS_URL", raising=False)
    monkeypatch.setenv("HEADRACE_DATA_DIR", str(tmp_path))
    assert headrace("webhooks", "secret", "create").exit_code == 3
