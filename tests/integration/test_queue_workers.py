"""Workers share the queue: turns, beats, burials, and who is to blame."""

from __future__ import annotations

import asyncio
import time
from statistics import median

import pytest
from msgspec.structs import replace

from jobs.adoption import Unbroken, adopt
from jobs.states import Priority, Status
from jobs.worker_queue import HandBack, WorkerQueue
from tests.integration.queue_rig import JOB, SHARDS, Rig, done, rig_on


async def test_priorities_are_served_8_3_1_and_tenants_equally(rig: Rig) -> None:
    worker = await rig.worker()
    for priority in Priority:
        await asyncio.gather(*(rig.submit(priority=priority) for _ in range(120)))
    first = [job for _ in range(12) for job in await worker.claim(10)]
    shares = [sum(job.priority is priority for job in first) for priority in Priority]
    assert shares == pytest.approx([80, 30, 10], abs=3)
    await asyncio.gather(*(rig.submit(tenant="t2", priority=Priority.HIGH) for _ in range(120)))
    mixed = [job for _ in range(8) for job in await worker.claim(5)]
    high = [job.tenant for job in mixed if job.priority is Priority.HIGH]
    assert abs(high.count("t2") - high.count("default")) <= 4


async def test_a_beat_tells_what_redis_and_the_worker_see_differently(rig: Rig) -> None:
    worker = await rig.worker()
    for _ in range(3):
        await rig.submit()
    known, running, forgotten = await worker.claim(3)
    await worker.start([running])
    await rig.queue.cancel(running.id, "default")
    held = [known.id, running.id, "job_" + "0h1" + "0" * 26]
    await worker.beat(held, state="ready", stats={})
    answer = await worker.beat(held, state="ready", stats={"seconds_per_job": "0.5"})
    assert answer.owned_not_held == [(forgotten.id, forgotten.token)]
    assert answer.canceling == [running.id]
    assert not answer.buried


async def test_a_dead_workers_jobs_are_adopted_and_its_writes_refused(redis_url: str) -> None:
    async with rig_on(redis_url, beat_limit_s=0.1) as rig:
        dead = await rig.worker("dead")
        jobs = [await rig.submit() for _ in range(3)]
        running, claimed = await dead.claim(2)
        await dead.start([running])
        await asyncio.sleep(0.15)
        unbroken = Unbroken()
        assert await adopt(rig.connections, rig.options, SHARDS, unbroken) == []
        moved = []
        async with asyncio.timeout(10):
            while not moved:
                await asyncio.sleep(0.12)
                moved = await adopt(rig.connections, rig.options, SHARDS, unbroken)
        assert {(each.id, each.was) for each in moved} == {
            (running.id, "running"),
            (claimed.id, "queued"),
        }
        assert (await dead.beat([], state="ready", stats={})).buried
        assert (await dead.settle([done(running)]))[running.id] == "stale"
        assert (await dead.start([claimed]))[claimed.id] == "lost"
        assert await dead.claim(1) == []
        heir = await rig.worker("heir")
        again = {job.id: job.crashes for job in await heir.claim(9)}
        assert again == {running.id: 1, claimed.id: 0, jobs[2].id: 0}


async def test_who_comes_due_before_the_next_call_is_buried_on_time(redis_url: str) -> None:
    async with rig_on(redis_url, beat_limit_s=1.0) as rig:
        found = [await due_before_the_next_call(rig) for _ in range(3)]
        # The middle one tells: a busy machine may hold up any.
        assert 0.3 < median(took_s for took_s, _ in found) < 0.7
        assert not any(buried for _, buried in found)


async def due_before_the_next_call(rig: Rig) -> tuple[float, bool]:
    """Let a worker die; return how long the call took that buried it, and if it buried another."""
    unbroken = Unbroken()
    await adopt(rig.connections, rig.options, SHARDS, unbroken)
    living = await rig.worker("living")
    await asyncio.sleep(0.6)
    dead = await rig.worker("dead")
    job = await rig.submit()
    assert [each.id for each in await dead.claim(1, start=True)] == [job.id]
    await asyncio.sleep(0.5)
    await living.beat([], state="ready", stats={})
    began = time.monotonic()
    [adopted] = await adopt(rig.connections, rig.options, SHARDS, unbroken)
    took_s = time.monotonic() - began
    assert adopted.id == job.id
    buried = (await living.beat([], state="ready", stats={})).buried
    await rig.queue.cancel(job.id, "default")
    return took_s, buried


async def test_a_worker_that_comes_back_under_its_name_buries_its_earlier_life(rig: Rig) -> None:
    first = await rig.worker("w")
    job = await rig.submit()
    [claimed] = await first.claim(1, start=True)
    second = WorkerQueue(
        rig.connections, rig.options, model="echo", version="1", shards=SHARDS, worker="w"
    )
    moved = await second.register({})
    assert [(each.id, each.verdict) for each in moved] == [(job.id, "ok")]
    assert (await first.settle([done(claimed)]))[job.id] == "stale"
    [again] = await second.claim(1, start=True)
    # It saw a worker die: it is started by itself, when nothing else is on the device.
    assert (again.started, again.crashes) == (False, 1)
    await second.start([again])
    assert (await second.settle([done(again)]))[job.id] == "ok"


async def test_only_deaths_alone_convict(rig: Rig) -> None:
    worker = await rig.worker()
    job, mate = await rig.submit(), await rig.submit()
    both = await worker.claim(2, start=True)
    backs = [HandBack(each.id, each.token, charge=True) for each in both]
    assert set((await worker.hand_back(backs)).values()) == {"ok"}
    assert (await worker.hand_back(backs))[job.id] == "stale"
    for verdict in ("ok", "poisoned"):
        [alone] = [each for each in await worker.claim(1) if each.id == job.id]
        await worker.start([alone])
        back = HandBack(alone.id, alone.token, charge=True, alone=True)
        assert (await worker.hand_back([back]))[job.id] == verdict
    ended = await rig.get(job)
    assert (ended.status, ended.crashes) == (Status.FAILED, 3)
    assert b"poisoned" in (ended.error or b"")
    assert (await rig.get(mate)).crashes == 1


async def test_an_idle_worker_takes_half_of_what_another_has_not_started(rig: Rig) -> None:
    busy, idle = await rig.worker("busy"), await rig.worker("idle")
    for _ in range(6):
        await rig.submit()
    held = await busy.claim(6)
    await busy.start(held[:2])
    taken = await idle.claim(10, steal=True)
    assert len(taken) == 2
    assert not {job.id for job in taken} & {job.id for job in held[:2]}
    verdicts = await busy.start(held[2:])
    assert sorted(verdicts.values()) == ["lost", "lost", "ok", "ok"]


async def test_an_idle_worker_takes_also_the_last_that_another_has_not_started(rig: Rig) -> None:
    busy, idle = await rig.worker("busy"), await rig.worker("idle")
    for _ in range(2):
        await rig.submit()
    running, waiting = await busy.claim(2)
    await busy.start([running])
    assert [job.id for job in await idle.claim(8, start=True, steal=True)] == [waiting.id]
    assert (await busy.start([waiting]))[waiting.id] == "lost"


async def test_a_bell_rings_for_jobs_and_for_cancels(rig: Rig) -> None:
    worker = await rig.worker()
    bells = worker.listen()
    assert (await anext(bells)).kind == "jobs"
    job = await rig.submit()
    assert (await anext(bells)).kind == "jobs"
    await worker.claim(1, start=True)
    await rig.queue.cancel(job.id, "default")
    bell = await anext(bells)
    assert (bell.kind, bell.job) == ("cancel", job.id)
    await bells.aclose()


async def test_the_outbox_hears_of_each_final_state_of_a_job_with_a_webhook(rig: Rig) -> None:
    worker = await rig.worker()
    hook = b'{"url":"https://example.test"}'
    jobs = [await rig.submit(webhook=hook) for _ in range(2)]
    await rig.queue.cancel(jobs[0].id, "default")
    await worker.settle([done(job) for job in await worker.claim(1, start=True)])
    events = await rig.connections.client.xrange("hr:{s017}:outbox")
    assert [event[b"type"] for _, event in events] == [b"job.canceled", b"job.succeeded"]


async def test_a_suspect_is_not_started_with_its_mates(rig: Rig) -> None:
    worker = await rig.worker()
    suspect = await rig.submit()
    [first] = await worker.claim(1, start=True)
    await worker.hand_back([HandBack(first.id, first.token, charge=True)])
    mate = await rig.submit()
    claimed = {job.id: job for job in await worker.claim(9, start=True)}
    assert [claimed[each.id].started for each in (suspect, mate)] == [False, True]
    assert (await rig.get(suspect)).status is Status.QUEUED
    assert (await rig.get(mate)).batch_size == 1


async def test_a_lane_of_expired_jobs_is_cleared_in_steps(rig: Rig) -> None:
    worker = await rig.worker()
    await rig.queue.submit_batch([replace(JOB, deadline_s=0.01)] * 600, shards=SHARDS)
    last = await rig.submit()
    await asyncio.sleep(0.02)
    found = [await worker.claim(4) for _ in range(3)]
    assert [[job.id for job in each] for each in found] == [[], [], [last.id]]
    assert worker.expired == 600


def test_a_jump_of_either_clock_begins_the_watch_anew(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 100.0
    monkeypatch.setattr("jobs.adoption.time.monotonic", lambda: now)
    unbroken = Unbroken()
    assert unbroken.answered(5000.0) == 0
    now += 1
    assert unbroken.answered(5001.1) == 1
    now += 1
    assert unbroken.answered(5032.0) == 0
    now += 4
    assert unbroken.answered(5036.0) == 0
    now += 2
    assert unbroken.answered(5038.0) == 2


async def test_a_claim_of_large_inputs_stops_at_some_megabytes_and_says_so(rig: Rig) -> None:
    worker = await rig.worker()
    for _ in range(6):
        await rig.submit(input=b'"%b"' % (b"x" * 900_000))
    first = await worker.claim(6)
    assert (len(first), worker.cut) == (3, True)
    assert len(await worker.claim(6)) == 3
    await worker.hand_back([HandBack(job.id, job.token) for job in first])
    again = await worker.claim(6)
    assert ([job.id for job in again], worker.cut) == ([job.id for job in first], True)
    assert (await worker.claim(6), worker.cut) == ([], False)
