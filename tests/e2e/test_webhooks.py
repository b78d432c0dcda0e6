"""Webhooks as a user has them: the example's receiver, told by the real sender."""

from __future__ import annotations

import json
import sqlite3
import sys
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from headrace.chaos.process import free_port
from headrace.chaos.stack import Api, Stack, until
from headrace.client.sync import Client

from .folders import EXAMPLES

RECEIVER = EXAMPLES / "webhook-receiver"


class Told:
    """A receiver, an API, and the secret between them."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.api: Api = stack.api()
        stack.worker(EXAMPLES / "echo")
        stack.webhooks()
        made = self.api.call("POST", "/v1/admin/webhook-secrets", json={})
        port = free_port()
        self.url = f"http://127.0.0.1:{port}/hook"
        self.file = stack.folder / "events.db"
        command = [sys.executable, "-m", "uvicorn", "receiver:app", "--app-dir", str(RECEIVER)]
        given = {"WEBHOOK_SECRET": made.json()["secret"], "EVENTS_FILE": str(self.file)}
        self.receiver = stack.process("receiver", [*command, "--port", str(port)], given)
        self.api.ready("echo")

    def start_receiver(self) -> None:
        """Let it answer from now on."""
        self.receiver.start()

        def answers() -> bool:
            try:
                return httpx.get(self.url).status_code == 405
            except httpx.TransportError:
                return False

        until(answers, 30, "the receiver")

    def kept(self) -> list[tuple[str, str, dict[str, Any]]]:
        """Return id, type and body of what it has been told."""
        connection = sqlite3.connect(self.file)
        try:
            rows = connection.execute("SELECT id, type, body FROM events").fetchall()
        finally:
            connection.close()
        return [(identifier, kind, json.loads(body)) for identifier, kind, body in rows]


@pytest.fixture(scope="module")
def told() -> Iterator[Told]:
    with Stack(webhook_allow="127.0.0.0/8") as stack:
        made = Told(stack)
        made.start_receiver()
        yield made


def test_a_receiver_is_told_of_the_end(told: Told) -> None:
    job = told.api.run("echo", {"message": "the input"}, webhook={"url": told.url})

    def row() -> list[tuple[str, str, dict[str, Any]]]:
        return [one for one in told.kept() if one[2]["data"]["id"] == job["id"]]

    until(lambda: len(row()) == 1, 30, "the event")
    [(identifier, kind, body)] = row()
    data = body["data"]
    assert (kind, data["status"], data["output"]) == ("job.succeeded", "succeeded", job["output"])
    assert "input" not in data
    assert data["seq"] >= 1
    assert body["timestamp"].endswith("Z")

    with Client(told.api.url) as client:
        mine = client.jobs.get(job["id"])
        until(lambda: mine.webhooks()[0]["status"] == "delivered", 10, "the delivery")
        [delivery] = mine.webhooks()
        assert (delivery["id"], [tried["status"] for tried in delivery["tries"]]) == (
            identifier,
            [204],
        )
        assert mine.replay(identifier)["id"] == identifier
        until(lambda: len(mine.webhooks()[0]["tries"]) == 2, 30, "the replay")
    assert len(row()) == 1, "the receiver keeps a delivery once"


def test_a_receiver_is_told_of_a_batch(told: Told) -> None:
    hook = {"url": told.url, "events": ["batch.finished"]}
    body = {"inputs": [{"message": n} for n in range(3)], "webhook": hook}
    batch = told.api.call("POST", "/v1/models/echo/jobs/batch", json=body).json()["batch"]

    def bodies() -> list[Any]:
        return [one["data"] for _, kind, one in told.kept() if kind == "batch.finished"]

    until(lambda: [one["id"] for one in bodies()] == [batch], 30, "the event")
    assert bodies()[0]["counts"]["succeeded"] == 3
    path = f"/v1/batches/{batch}/webhooks"
    [delivery] = until(lambda: told.api.call("GET", path).json()["data"], 10, "the delivery")
    assert delivery["type"] == "batch.finished"
