"""The trace of a submit reaches the worker that asks for it, and the sender, on a real Redis."""

from __future__ import annotations

import json

import pytest
from msgspec.structs import replace

from jobs.webhook import Verdict
from jobs.work import Claimed, HandBack
from tests.integration.queue_rig import JOB, SHARDS, Rig, done
from tests.integration.sender_rig import SHARD, WEBHOOK, Sender, ended, soon
from webhooks.breaker import Breaker
from webhooks.drafts import draft
from webhooks.hand import Hand

TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
OTHER = TRACE.replace("4bf9", "ffff")


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"traceparent": TRACE}, TRACE),
        ({}, None),
        ({"metadata": b'{"n":1}', "webhook": WEBHOOK, "traceparent": TRACE}, TRACE),
        # What a caller keeps with a job is no trace, whatever it is called.
        ({"metadata": json.dumps({"traceparent": OTHER}, separators=(",", ":")).encode()}, None),
        ({"metadata": json.dumps(f'"traceparent":"{OTHER}').encode()}, None),
        (
            {
                "metadata": json.dumps({"long": "x" * 9000, "traceparent": OTHER}).encode(),
                "traceparent": TRACE,
            },
            TRACE,
        ),
    ],
)
async def test_a_claim_tells_the_trace_where_it_is_asked(
    rig: Rig, given: dict[str, object], expected: str | None
) -> None:
    worker = await rig.worker()
    worker.traced = True
    await rig.submit(**given)
    [claimed] = await worker.claim(1)
    assert (claimed.traceparent, claimed.last) == (expected, None)


async def test_a_claim_that_is_not_asked_does_not_look(rig: Rig) -> None:
    worker = await rig.worker()
    await rig.submit(traceparent=TRACE)
    [claimed] = await worker.claim(1)
    assert claimed.traceparent is None


async def _run_again(rig: Rig, worker_died: bool) -> Claimed:
    worker = await rig.worker("w1")
    await rig.submit(traceparent=TRACE)
    [first] = await worker.claim(1, start=True)
    if worker_died:
        worker = await rig.worker("w1")
    else:
        detail = 'a stack with "ended_at":1 in it' * 100
        back = HandBack(first.id, first.token, charge=True, reason="sigsegv", detail=detail)
        await worker.hand_back([back])
    worker.traced = True
    [second] = await worker.claim(1)
    return second


@pytest.mark.parametrize(
    ("worker_died", "reason"), [(True, "worker_restarted"), (False, "sigsegv")]
)
async def test_a_claim_tells_how_the_attempt_before_ended(
    rig: Rig, worker_died: bool, reason: str
) -> None:
    claimed = await _run_again(rig, worker_died)
    assert claimed.traceparent == TRACE
    assert claimed.last is not None
    assert (claimed.last.attempt, claimed.last.reason, claimed.last.worker) == (1, reason, "w1")
    assert claimed.created_at <= claimed.last.ended_at <= soon()


async def test_a_delivery_keeps_the_trace_over_its_tries(rig: Rig) -> None:
    sender = Sender(rig)
    await ended(rig, traceparent=TRACE)
    breaker = Breaker()
    [new] = draft(SHARD, await sender.untold(), Hand(breaker), breaker).at_once
    [first] = await sender.outbox.post(SHARD, [new], lease_s=60)
    assert first.traceparent == TRACE
    await sender.settle(first, Verdict.RETRY, next_at=soon())
    await sender.outbox.release(SHARD)
    [again] = await sender.lease(room={new.endpoint: 1})
    assert (again.id, again.traceparent) == (first.id, TRACE)


async def test_a_delivery_without_a_trace_has_no_such_field(rig: Rig) -> None:
    sender = Sender(rig)
    await ended(rig)
    [delivery] = await sender.post()
    assert delivery.traceparent is None
    key = f"hr:{{s{SHARD:03d}}}:delivery:{delivery.id}"
    assert not await rig.connections.client.hexists(key, "traceparent")
    await sender.settle(delivery, Verdict.BACK)
    [again] = await sender.lease()
    assert again.traceparent is None


async def test_the_end_of_a_batch_has_the_trace_of_its_submit(rig: Rig) -> None:
    hook = json.dumps({**json.loads(WEBHOOK), "events": ["batch.finished"]}).encode()
    jobs = [replace(JOB, traceparent=TRACE, webhook=hook) for _ in range(2)]
    await rig.queue.submit_batch(jobs, shards=SHARDS)
    worker = await rig.worker()
    claimed = await worker.claim(2, start=True)
    await worker.settle([done(each) for each in claimed])
    [event] = await Sender(rig).untold()
    assert (event.type, event.traceparent) == ("batch.finished", TRACE)
