"""Webhooks in the Python client, synchronous and asynchronous, against answers made up here."""

from __future__ import annotations

import httpx
import pytest

from headrace import AsyncClient, NotFound
from headrace.client import exchange
from tests.unit.client_rig import Script, answer, client, job, problem

TOLD = {"id": "wh_1", "type": "job.failed", "status": "pending", "tries": []}


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "_FIRST_PAUSE_S", 0.001)


def asked(script: Script) -> list[str]:
    return [f"{request.method} {request.url.raw_path.decode()}" for request in script.requests]


def test_a_job_knows_its_deliveries() -> None:
    script = Script(answer(200, job()), answer(200, {"data": [TOLD]}), answer(202, TOLD))
    with client(script) as it:
        made = it.jobs.get("job_0")
        assert made.webhooks() == [TOLD]
        assert made.replay("wh_1") == TOLD
    assert asked(script)[1:] == [
        "GET /v1/jobs/job_0/webhooks",
        "POST /v1/jobs/job_0/webhooks/wh_1/replay",
    ]


def test_a_batch_has_deliveries_too() -> None:
    script = Script(answer(200, {"data": []}))
    assert client(script).webhooks.list("bat_0") == []
    assert asked(script) == ["GET /v1/batches/bat_0/webhooks"]


def test_a_replay_is_tried_again() -> None:
    script = Script(httpx.ReadTimeout("late"), answer(202, TOLD))
    assert client(script).webhooks.replay("job_0", "wh_1") == TOLD
    gone = Script(problem(404, "no_such_webhook"))
    with pytest.raises(NotFound):
        client(gone).webhooks.replay("job_0", "wh_2")


def test_what_an_administrator_does() -> None:
    script = Script(
        answer(200, {"data": [{"id": "wh_1"}], "next_cursor": "c"}),
        answer(200, {"data": [{"id": "wh_2"}], "next_cursor": None}),
        answer(202, TOLD),
        answer(204, None),
        answer(200, {"data": [{"id": "e"}]}),
        answer(204, None),
    )
    webhooks = client(script).webhooks
    assert [one["id"] for one in webhooks.undelivered()] == ["wh_1", "wh_2"]
    assert webhooks.replay_undelivered("wh_1") == TOLD
    webhooks.purge("wh_2")
    assert webhooks.endpoints() == [{"id": "e"}]
    webhooks.enable("e")
    assert asked(script) == WORDS


WORDS = [
    "GET /v1/admin/dead/webhooks",
    "GET /v1/admin/dead/webhooks?cursor=c",
    "POST /v1/admin/dead/webhooks/wh_1/replay",
    "DELETE /v1/admin/dead/webhooks/wh_2",
    "GET /v1/admin/webhook-endpoints",
    "POST /v1/admin/webhook-endpoints/e/enable",
]


async def test_the_asynchronous_client_does_the_same() -> None:
    script = Script(
        answer(200, job()),
        answer(200, {"data": [TOLD]}),
        answer(202, TOLD),
        answer(200, {"data": [{"id": "wh_1"}], "next_cursor": "c"}),
        answer(200, {"data": [{"id": "wh_2"}], "next_cursor": None}),
        answer(202, TOLD),
        answer(204, None),
        answer(200, {"data": [{"id": "e"}]}),
        answer(204, None),
    )
    async with AsyncClient("http://test", transport=httpx.MockTransport(script)) as it:
        made = await it.jobs.get("job_0")
        assert await made.webhooks() == [TOLD]
        assert await made.replay("wh_1") == TOLD
        assert [one["id"] async for one in it.webhooks.undelivered()] == ["wh_1", "wh_2"]
        assert await it.webhooks.replay_undelivered("wh_1") == TOLD
        await it.webhooks.purge("wh_2")
        assert await it.webhooks.endpoints() == [{"id": "e"}]
        await it.webhooks.enable("e")
    assert asked(script)[1:] == [
        "GET /v1/jobs/job_0/webhooks",
        "POST /v1/jobs/job_0/webhooks/wh_1/replay",
        *WORDS,
    ]
