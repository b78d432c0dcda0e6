"""A model gets another version: what named none follows to it, once nobody serves its own."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from jobs.audit import audit
from jobs.cards import CardStore
from jobs.job import Job
from jobs.overview import ModelOverview, overview
from jobs.states import Priority, Status
from jobs.worker_queue import HandBack, WorkerQueue
from tests.integration.queue_rig import SHARDS, Rig, done


async def publish(rig: Rig, *versions: str) -> None:
    """Publish a card of each version; the last one is in production."""
    for version in versions:
        card = orjson.dumps({"name": "echo", "version": version, "shards": SHARDS})
        await CardStore(rig.connections).publish(card, model="echo", version=version)


async def worker_of(rig: Rig, version: str, **info: str) -> WorkerQueue:
    worker = WorkerQueue(
        rig.connections,
        rig.options,
        model="echo",
        version=version,
        shards=SHARDS,
        worker=f"of-{version}",
    )
    await worker.register(info)
    return worker


async def load(rig: Rig, *versions: str) -> ModelOverview:
    return await overview(
        rig.connections, rig.options, model="echo", versions=versions, shards=SHARDS
    )


async def versions_of(rig: Rig, jobs: list[Job]) -> list[str]:
    return [(await rig.queue.get(job.id, job.tenant)).version for job in jobs]


async def test_waiting_jobs_follow_in_order_before_what_comes_later(rig: Rig) -> None:
    await publish(rig, "1", "2")
    jobs = [await rig.submit(tenant="ab"[at % 2]) for at in range(6)]
    heir = await worker_of(rig, "2")
    assert await heir.follow() == 6
    later = await rig.submit(tenant="a", version="2")
    claimed = [job.id for job in await heir.claim(9)]
    of_a = [job.id for job in jobs[::2]]
    assert [each for each in claimed if each in {*of_a, later.id}] == [*of_a, later.id]
    assert [each for each in claimed if each not in of_a][:3] == [job.id for job in jobs[1::2]]
    assert await heir.follow() == 0


async def test_a_version_that_is_served_keeps_its_jobs(rig: Rig) -> None:
    await publish(rig, "1", "2")
    job = await rig.submit()
    old, heir = await worker_of(rig, "1"), await worker_of(rig, "2")
    assert await heir.follow() == 0
    [claimed] = await old.claim(1)
    await old.leave()
    assert await heir.follow() == 1
    [again] = await heir.claim(1, start=True)
    assert again.id == job.id == claimed.id
    assert (await heir.settle([done(again)]))[job.id] == "ok"
    assert (await rig.get(job)).version == "2"


@pytest.mark.parametrize("state", ["draining", "failed"])
async def test_a_worker_that_claims_nothing_any_more_keeps_no_jobs(rig: Rig, state: str) -> None:
    await publish(rig, "1", "2")
    await rig.submit()
    old, heir = await worker_of(rig, "1"), await worker_of(rig, "2")
    await old.beat([], state=state, stats={})
    assert await heir.follow() == 1


async def test_what_was_pinned_stays(rig: Rig) -> None:
    await publish(rig, "1", "2")
    pinned = [await rig.submit(pinned=True, priority=priority) for priority in Priority]
    free = await rig.submit()
    old = await worker_of(rig, "1")
    returned = await old.claim(2)
    await old.hand_back([HandBack(job.id, job.token) for job in returned])
    await old.leave()
    heir = await worker_of(rig, "2")
    assert await heir.follow() == 1
    assert [job.id for job in await heir.claim(9)] == [free.id]
    back = await worker_of(rig, "1")
    assert {job.id for job in await back.claim(9)} == {job.id for job in pinned}


async def test_only_the_version_in_production_takes_over(rig: Rig) -> None:
    await publish(rig, "1", "2", "3")
    await rig.submit()
    second, third = await worker_of(rig, "2"), await worker_of(rig, "3")
    assert await second.follow() == 0
    await publish(rig, "2")
    # The sweep looks whether a card has changed.
    await asyncio.gather(second.sweep(), third.sweep())
    assert await third.follow() == 0
    assert await second.follow() == 1


async def test_a_long_line_follows_page_by_page(rig: Rig) -> None:
    await publish(rig, "1", "2")
    jobs = await asyncio.gather(*(rig.submit(tenant=f"t{at % 3}") for at in range(600)))
    heir = await worker_of(rig, "2")
    moved = 0
    while moved < 600:
        moved += await heir.follow()
    assert set(await versions_of(rig, jobs)) == {"2"}
    assert await audit(rig.connections, rig.options) == []


async def test_what_waits_for_another_attempt_follows_when_it_is_due(rig: Rig) -> None:
    await publish(rig, "1", "2")
    job = await rig.submit()
    old = await worker_of(rig, "1")
    [claimed] = await old.claim(1, start=True)
    await old.settle([done(claimed, "retry", b"{}", backoff_s=0.05)])
    await old.leave()
    heir = await worker_of(rig, "2")
    assert await heir.follow() == 0
    await asyncio.sleep(0.06)
    await heir.sweep()
    assert await heir.follow() == 1
    [again] = await heir.claim(1)
    assert (again.id, again.attempt) == (job.id, 2)


async def test_one_that_followed_is_canceled_and_expires_as_any(rig: Rig) -> None:
    await publish(rig, "1", "2")
    canceled, late = await rig.submit(), await rig.submit(deadline_s=0.05)
    heir = await worker_of(rig, "2")
    assert await heir.follow() == 2
    await rig.queue.cancel(canceled.id, "default")
    await asyncio.sleep(0.06)
    assert await heir.sweep() == [("echo", "2")]
    assert (await rig.get(canceled)).status is Status.CANCELED
    assert (await rig.get(late)).status is Status.EXPIRED
    assert await rig.counts() == (0, 0)
    assert await audit(rig.connections, rig.options) == []


async def test_figures_tell_versions_apart(rig: Rig) -> None:
    await publish(rig, "1", "2")
    for _ in range(2):
        await rig.submit()
    for _ in range(3):
        await rig.submit(pinned=True)
    for _ in range(4):
        await rig.submit(version="2")
    seen = await load(rig, "1", "2")
    assert seen.queued == 9
    # Nobody serves the first: what is pinned to it needs a worker of its own.
    assert seen.for_workers("2").queued == 6
    assert seen.for_version("2", "2").queued == 6
    assert seen.for_version("1", "2").queued == 5
    old = await worker_of(rig, "1")
    await old.claim(1, start=True)
    seen = await load(rig, "1", "2")
    assert (seen.for_workers("2").queued, seen.for_workers("2").running) == (8, 1)
    mine = seen.for_version("1", "2")
    assert (mine.queued, mine.running, len(mine.workers)) == (4, 1, 1)
    other = seen.for_version("2", "2")
    assert (other.queued, other.running, other.workers) == (4, 0, [])
    only = await load(rig, "1")
    assert only.for_version("1", "1") == only == only.for_workers("1")
