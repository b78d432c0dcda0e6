"""What is kept of each attempt that did not succeed."""

from __future__ import annotations

import asyncio
import json
from typing import Any

from jobs.adoption import Unbroken, adopt
from jobs.job import Job
from jobs.worker_queue import Claimed, HandBack, Outcome
from tests.integration.queue_rig import SHARDS, Rig, done, rig_on


async def tries(rig: Rig, job: Job | Claimed) -> list[dict[str, Any]]:
    notes = await rig.connections.client.lrange(f"hr:{{s017}}:tries:{job.id}", 0, -1)
    return [json.loads(note) for note in notes]


async def test_each_attempt_is_told_by_its_own_worker_reason_and_times(rig: Rig) -> None:
    first, second = await rig.worker("w:1"), await rig.worker("w2")
    job = await rig.submit()
    [one] = await first.claim(1, start=True)
    await first.settle([Outcome(one.id, one.token, "retry", code="model_error", detail='é\x00"/')])
    await asyncio.sleep(0.002)
    await rig.queue.sweep(SHARDS)
    [two] = await second.claim(1)
    await second.hand_back([HandBack(two.id, two.token, reason="drain")])
    [two] = await second.claim(1)
    await asyncio.sleep(0.002)
    await second.start([two])
    await second.hand_back([HandBack(two.id, two.token, charge=True, reason="engine_crashed")])
    [three] = await first.claim(1)
    await first.settle([Outcome(three.id, three.token, "failed", b"{}", code="invalid_input")])
    retry, crash, refused = await tries(rig, job)
    assert retry == {
        "worker": "w:1",
        "life": first.life,
        "attempt": 1,
        "started_at": retry["started_at"],
        "ended_at": retry["ended_at"],
        "reason": "model_error",
        "charged": False,
        "detail": 'é\x00"/',
    }
    assert job.created_at <= retry["started_at"] <= retry["ended_at"] < crash["started_at"]
    assert (crash["attempt"], crash["reason"], crash["charged"]) == (2, "engine_crashed", True)
    # It never began: a claimed job that is handed back was no attempt, and this one was refused.
    assert (refused["attempt"], refused["reason"]) == (2, "invalid_input")
    assert "started_at" not in refused


async def test_a_success_without_trouble_costs_nothing(rig: Rig) -> None:
    worker = await rig.worker()
    job = await rig.submit()
    await worker.settle([done(each) for each in await worker.claim(1, start=True)])
    assert not await rig.connections.client.exists(f"hr:{{s017}}:tries:{job.id}")


async def test_a_lost_reply_notes_an_attempt_once(rig: Rig) -> None:
    worker = await rig.worker()
    job = await rig.submit()
    [held] = await worker.claim(1, start=True)
    back = [HandBack(held.id, held.token, charge=True)]
    assert [(await worker.hand_back(back))[job.id] for _ in range(2)] == ["ok", "stale"]
    [held] = await worker.claim(1)
    await worker.start([held])
    outcome = [Outcome(held.id, held.token, "timed_out", b"{}")]
    assert [(await worker.settle(outcome))[job.id] for _ in range(2)] == ["ok", "already"]
    assert [note["reason"] for note in await tries(rig, job)] == ["handed_back", "timed_out"]


async def test_lost_and_restarted_workers_are_named(redis_url: str) -> None:
    async with rig_on(redis_url, beat_limit_s=0.1) as rig:
        worker = await rig.worker("w")
        job = await rig.submit()
        await worker.claim(1, start=True)
        await worker.register({})
        [again] = await worker.claim(1)
        await worker.start([again])
        unbroken, moved = Unbroken(), []
        while not moved:
            await asyncio.sleep(0.05)
            moved = await adopt(rig.connections, rig.options, SHARDS, unbroken)
        await worker.register({})
        [again] = await worker.claim(1)
        await worker.start([again])
        await worker.leave()
        notes = [(note["reason"], note["charged"]) for note in await tries(rig, job)]
        assert notes == [
            ("worker_restarted", True),
            ("worker_lost", True),
            ("worker_left", False),
        ]


async def test_what_is_kept_of_attempts_is_bounded_and_ends_with_the_job(rig: Rig) -> None:
    worker = await rig.worker()
    job = await rig.submit()
    for number in range(25):
        [held] = await worker.claim(1, start=True)
        detail = f"{number} \ud800" + "ü" * 9000
        await worker.hand_back([HandBack(held.id, held.token, detail=detail)])
    notes = await tries(rig, job)
    assert [note["detail"].split()[0] for note in notes] == [str(n) for n in range(5, 25)]
    assert all(8000 < len(note["detail"].encode()) <= 8192 for note in notes)
    key = f"hr:{{s017}}:tries:{job.id}"
    assert await rig.connections.client.pttl(key) == -1
    await rig.queue.cancel(job.id, "default")
    assert await rig.connections.client.pttl(key) > 0
    await rig.queue.delete(job.id, "default")
    assert not await rig.connections.client.exists(key)
    assert await rig.keys() <= {"bell", "beats", "counts", "fence", "worker", "stats"}
