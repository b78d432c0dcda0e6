"""The receiver under examples/ takes what the sender signs, once, and nothing else."""

from __future__ import annotations

import importlib.util
import json
import sqlite3
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import httpx
import pytest

from jobs.webhook_secrets import key_of, new_secret
from webhooks.signing import signature

FILE = Path(__file__).parents[2] / "examples" / "webhook-receiver" / "receiver.py"
SECRET, OLD = new_secret(), new_secret()
BODY = json.dumps({"type": "job.succeeded", "data": {"output": "ä"}}, ensure_ascii=False).encode()

Kept = Callable[[], list[tuple[str, str, str]]]


@pytest.fixture
def kept(tmp_path: Path) -> Kept:
    def read() -> list[tuple[str, str, str]]:
        connection = sqlite3.connect(tmp_path / "events.db")
        try:
            return connection.execute("SELECT * FROM events").fetchall()
        finally:
            connection.close()

    return read


@pytest.fixture
def receiver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[httpx.ASGITransport]:
    monkeypatch.setenv("WEBHOOK_SECRET", SECRET)
    monkeypatch.setenv("EVENTS_FILE", str(tmp_path / "events.db"))
    spec = importlib.util.spec_from_file_location("receiver", FILE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    yield httpx.ASGITransport(module.app)
    module.events.close()


@pytest.fixture
async def client(receiver: httpx.ASGITransport) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=receiver, base_url="http://receiver") as made:
        yield made


def headers(
    *secrets: str, body: bytes = BODY, identifier: str = "wh_1", late_s: int = 0
) -> dict[str, str]:
    at = int(time.time()) - late_s
    signed = [signature(key_of(secret), identifier, at, body) for secret in secrets or (SECRET,)]
    return {
        "webhook-id": identifier,
        "webhook-timestamp": str(at),
        "webhook-signature": " ".join(signed),
        "content-type": "application/json",
    }


async def test_an_event_is_kept_once(client: httpx.AsyncClient, kept: Kept) -> None:
    for _ in range(2):
        answer = await client.post("/hook", content=BODY, headers=headers())
        assert answer.status_code == 204
    assert kept() == [("wh_1", "job.succeeded", BODY.decode())]


async def test_a_secret_that_is_being_replaced(client: httpx.AsyncClient, kept: Kept) -> None:
    for number, secrets in enumerate(((OLD, SECRET), (SECRET, OLD))):
        given = headers(*secrets, identifier=f"wh_{number}")
        assert (await client.post("/hook", content=BODY, headers=given)).status_code == 204
    assert len(kept()) == 2


@pytest.mark.parametrize(
    "wrong",
    # Made when the test runs: what was made when it was collected may be late by itself.
    [
        lambda: headers(OLD),
        lambda: headers(body=BODY + b" "),
        lambda: headers(late_s=3600),
        lambda: {**headers(), "webhook-signature": "nonsense"},
        lambda: {**headers(), "webhook-id": "wh_2"},
        dict,
    ],
    ids=["another secret", "another body", "late", "no signature", "another id", "nothing"],
)
async def test_what_is_not_signed_is_not_kept(
    client: httpx.AsyncClient, kept: Kept, wrong: Callable[[], dict[str, str]]
) -> None:
    assert (await client.post("/hook", content=BODY, headers=wrong())).status_code == 401
    assert kept() == []
