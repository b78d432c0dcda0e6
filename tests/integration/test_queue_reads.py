"""What clients read: batches, repeats, waits and pages."""

from __future__ import annotations

import asyncio
import time

import pytest
from msgspec.structs import replace

from jobs import scripts
from jobs.errors import (
    IdempotencyConflict,
    MalformedRequest,
    NoSuchBatch,
    QueueFull,
)
from jobs.listing import Filter
from jobs.states import Status
from jobs.worker_queue import Claimed
from tests.integration.queue_rig import JOB, SHARDS, Rig, done, rig_on


async def test_one_idempotency_key_makes_one_job(rig: Rig) -> None:
    new = replace(JOB, idempotency_key="k", fingerprint="f")
    all_ = await asyncio.gather(*(rig.queue.submit(new, shards=SHARDS) for _ in range(40)))
    assert len({each.job.id for each in all_}) == 1
    assert sum(not each.replayed for each in all_) == 1
    with pytest.raises(IdempotencyConflict):
        await rig.queue.submit(replace(new, fingerprint="g"), shards=SHARDS)
    other = await rig.queue.submit(replace(new, tenant="t2"), shards=SHARDS)
    assert not other.replayed


async def test_a_batch_is_stored_whole_or_not_at_all(redis_url: str) -> None:
    async with rig_on(redis_url, max_queue_depth=5) as rig:
        with pytest.raises(QueueFull):
            await rig.queue.submit_batch([JOB] * 6, shards=SHARDS)
        assert await rig.counts() == (0, 0)
        batch = await rig.queue.submit_batch(
            [replace(JOB, input=b"%d" % i) for i in range(5)],
            shards=SHARDS,
            idempotency_key="b",
            fingerprint="f",
        )
        again = await rig.queue.submit_batch(
            [JOB], shards=SHARDS, idempotency_key="b", fingerprint="f"
        )
        assert (again.id, again.replayed) == (batch.id, True)
        assert [job.input for job in again.jobs] == [b"0", b"1", b"2", b"3", b"4"]
        with pytest.raises(QueueFull):
            await rig.submit()


async def test_a_batch_counts_its_jobs_and_goes_with_the_last(rig: Rig) -> None:
    worker = await rig.worker()
    batch = await rig.queue.submit_batch([JOB] * 3, shards=SHARDS)
    a, b, c = await worker.claim(3, start=True)
    await worker.settle([done(a), done(b, "failed", b"{}")])
    seen = await rig.queue.batch(batch.id, "default")
    assert (seen.counts[Status.SUCCEEDED], seen.counts[Status.RUNNING]) == (1, 1)
    assert seen.finished_at is None
    await worker.settle([done(c)])
    seen = await rig.queue.batch(batch.id, "default")
    assert seen.finished_at is not None
    for job in batch.jobs:
        await rig.queue.delete(job.id, "default")
    with pytest.raises(NoSuchBatch):
        await rig.queue.batch(batch.id, "default")


async def test_a_wait_ends_with_the_job_and_not_before(rig: Rig) -> None:
    worker = await rig.worker()
    waiting = asyncio.create_task(
        rig.queue.submit_and_wait(JOB, shards=SHARDS, timeout_s=5), name="wait"
    )
    claimed: list[Claimed] = []
    while not claimed:
        claimed = await worker.claim(1, start=True)
    second = asyncio.create_task(rig.queue.wait(claimed[0].id, "default", 5))
    await asyncio.sleep(0.05)
    assert not waiting.done()
    await worker.settle([done(claimed[0])])
    assert (await waiting).job.output == (await second).output == b"2"


async def test_a_wait_gives_the_job_as_it_is_when_time_is_over_or_the_process_drains(
    rig: Rig,
) -> None:
    job = await rig.submit()
    begun = time.monotonic()
    assert (await rig.queue.wait(job.id, "default", 0.1)).status is Status.QUEUED
    assert time.monotonic() - begun < 1
    held = asyncio.create_task(rig.queue.wait(job.id, "default", 30))
    await asyncio.sleep(0.05)
    rig.queue.drain()
    assert (await held).status is Status.QUEUED


async def test_pages_come_newest_first_and_none_is_seen_twice(rig: Rig) -> None:
    jobs = [await rig.submit() for _ in range(25)]
    wanted = Filter(tenant="default", models={"echo": SHARDS})
    seen: list[str] = []
    cursor = None
    while True:
        page = await rig.queue.listing.page(wanted, limit=10, cursor=cursor)
        seen += [job.id for job in page.jobs]
        await rig.submit()
        cursor = page.next_cursor
        if cursor is None:
            break
    assert seen == [job.id for job in reversed(jobs)]
    some = Filter(tenant="default", models={"echo": SHARDS}, ids=[jobs[3].id, "job_x", jobs[1].id])
    page = await rig.queue.listing.page(some, limit=10)
    assert [job.id for job in page.jobs] == [jobs[3].id, jobs[1].id]
    with pytest.raises(MalformedRequest):
        await rig.queue.listing.page(wanted, limit=1, cursor="what")


async def test_a_status_filter_finds_the_rare_one(rig: Rig) -> None:
    worker = await rig.worker()
    jobs = [await rig.submit() for _ in range(30)]
    [first] = await worker.claim(1, start=True)
    await worker.settle([done(first)])
    wanted = Filter(tenant="default", models={"echo": SHARDS}, status=Status.SUCCEEDED)
    page = await rig.queue.listing.page(wanted, limit=5)
    assert ([job.id for job in page.jobs], page.next_cursor) == ([jobs[0].id], None)


async def test_a_wait_ends_with_the_whole_job_however_large(rig: Rig) -> None:
    worker = await rig.worker()
    for size in (10, 200_000):
        waiting = asyncio.create_task(
            rig.queue.submit_and_wait(
                replace(JOB, metadata=b'{"a":"\xc3\xa9"}'), shards=SHARDS, timeout_s=5
            )
        )
        claimed: list[Claimed] = []
        while not claimed:
            claimed = await worker.claim(1, start=True)
        output = b'"' + "é".encode() * size + b'"'
        await worker.settle([done(claimed[0], payload=output)])
        told = (await waiting).job
        assert told == await rig.get(told)
        assert told.output == output


async def test_a_page_of_large_jobs_comes_in_pieces_and_whole(rig: Rig) -> None:
    large = replace(JOB, input=b'"' + b"x" * 400_000 + b'"')
    ids = [(await rig.queue.submit(large, shards=SHARDS)).job.id for _ in range(8)]
    ids.insert(3, "job_" + "0" * 29)
    found = await rig.queue.read([*ids, ids[0]])
    assert [job and job.input for job in found] == [
        None if identifier == ids[3] else large.input for identifier in [*ids, ids[0]]
    ]
    args = [*rig.options.policy, "", *ids]
    rows = await rig.connections.run(scripts.READ, SHARDS[0], args)
    assert rows.count(b"later") == 5
