"""The life of a job through the real scripts on a real Redis."""

from __future__ import annotations

import asyncio

import pytest
from msgspec.structs import replace

from jobs.errors import (
    NoSuchJob,
    NotCancelable,
)
from jobs.states import Status
from jobs.worker_queue import Outcome
from tests.integration.queue_rig import JOB, SHARDS, Rig, done, rig_on


async def test_a_job_goes_in_and_its_outcome_comes_out(rig: Rig) -> None:
    worker = await rig.worker()
    job = await rig.submit(metadata=b'{"a":1}', request_id="r1")
    assert (job.status, job.attempt) == (Status.QUEUED, 0)
    assert await rig.get(job) == replace(job, ahead=0)
    [claimed] = await worker.claim(10)
    assert (await rig.get(job)).status is Status.QUEUED
    assert await worker.start([claimed]) == {job.id: "ok"}
    running = await rig.get(job)
    assert (running.status, running.attempt, running.worker) == (Status.RUNNING, 1, "w1")
    assert await rig.counts() == (0, 1)
    assert await worker.settle([done(claimed)]) == {job.id: "ok"}
    ended = await rig.get(job)
    assert (ended.status, ended.output, ended.input) == (Status.SUCCEEDED, b"2", None)
    assert ended.retained_until == ended.finished_at + 3_600_000
    assert await rig.counts() == (0, 0)


async def test_a_repeated_settle_is_already_done_and_a_foreign_one_is_refused(rig: Rig) -> None:
    worker, other = await rig.worker(), await rig.worker("w2")
    job = await rig.submit()
    [claimed] = await worker.claim(1, start=True)
    assert (await other.settle([done(claimed)]))[job.id] == "stale"
    assert (await worker.settle([done(claimed)]))[job.id] == "ok"
    assert (await worker.settle([done(claimed, payload=b"3")]))[job.id] == "already"
    assert (await worker.settle([Outcome(job.id, "1-1", "failed", b"{}")]))[job.id] == "stale"
    assert (await rig.get(job)).output == b"2"


async def test_cancel_while_queued_claimed_and_running(rig: Rig) -> None:
    worker = await rig.worker()
    queued, claimed_job, running_job = [await rig.submit() for _ in range(3)]
    assert (await rig.queue.cancel(queued.id, "default")).job.status is Status.CANCELED
    first, second = await worker.claim(2)
    assert (await rig.queue.cancel(claimed_job.id, "default")).job.status is Status.CANCELED
    assert await worker.start([first, second]) == {first.id: "canceled", second.id: "ok"}
    canceling = await rig.queue.cancel(running_job.id, "default")
    assert (canceling.job.status, canceling.ended) == (Status.CANCELING, False)
    assert (await rig.queue.cancel(running_job.id, "default")).job.status is Status.CANCELING
    assert (await worker.settle([done(second)]))[second.id] == "canceled"
    ended = await rig.get(running_job)
    assert (ended.status, ended.output) == (Status.CANCELED, None)
    assert b'"code":"canceled"' in (ended.error or b"")
    assert (await rig.queue.cancel(queued.id, "default")).job.status is Status.CANCELED


async def test_a_job_that_ended_cannot_be_canceled_and_an_open_one_not_deleted(rig: Rig) -> None:
    worker = await rig.worker()
    job = await rig.submit()
    with pytest.raises(NotCancelable, match="only a job that has ended"):
        await rig.queue.delete(job.id, "default")
    [claimed] = await worker.claim(1, start=True)
    await worker.settle([done(claimed)])
    with pytest.raises(NotCancelable, match="succeeded"):
        await rig.queue.cancel(job.id, "default")
    await rig.queue.delete(job.id, "default")
    with pytest.raises(NoSuchJob):
        await rig.get(job)


async def test_another_tenants_job_does_not_exist(rig: Rig) -> None:
    job = await rig.submit()
    for call in (rig.queue.get, rig.queue.cancel, rig.queue.delete):
        with pytest.raises(NoSuchJob):
            await call(job.id, "other")
    with pytest.raises(NoSuchJob):
        await rig.queue.get("job_nonsense", "default")


async def test_everything_of_a_deleted_job_is_gone(rig: Rig) -> None:
    worker = await rig.worker()
    job = await rig.submit(metadata=b"{}", idempotency_key="k", fingerprint="f")
    [claimed] = await worker.claim(1, start=True)
    await worker.progress([(job.id, claimed.token, b'{"fraction":0.5}')])
    assert (await rig.get(job)).progress == b'{"fraction":0.5}'
    await worker.settle([done(claimed, "failed", b"{}")])
    await rig.queue.delete(job.id, "default")
    await worker.leave()
    assert await rig.keys() <= {"counts", "bell", "fence"}


async def test_a_settle_that_comes_after_a_cancel_hears_of_the_cancel(rig: Rig) -> None:
    worker = await rig.worker()
    running, refused = await rig.submit(), await rig.submit()
    [first] = await worker.claim(1, start=True)
    [second] = await worker.claim(1)
    assert (await rig.queue.cancel(running.id, "default")).ended is False
    assert (await rig.queue.cancel(refused.id, "default")).ended is True
    for _ in range(2):  # the first answer was lost
        assert await worker.settle([done(first)]) == {running.id: "canceled"}
    assert await worker.settle([done(second, "failed", b"{}")]) == {refused.id: "canceled"}
    assert await worker.settle([done(first, "canceled")]) == {running.id: "already"}


async def test_a_life_that_leaves_tells_how_many_it_ended(rig: Rig) -> None:
    worker = await rig.worker()
    canceled, other = await rig.submit(), await rig.submit()
    await worker.claim(2, start=True)
    await rig.queue.cancel(canceled.id, "default")
    assert await worker.leave() == 1
    assert (await rig.get(canceled)).status is Status.CANCELED
    assert (await rig.get(other)).status is Status.QUEUED


async def test_a_retryable_outcome_waits_its_backoff(rig: Rig) -> None:
    worker = await rig.worker()
    job = await rig.submit()
    [claimed] = await worker.claim(1, start=True)
    retry = done(claimed, "retry", backoff_s=1.5)
    assert (await worker.settle([retry]))[job.id] == "retry"
    assert (await worker.settle([retry]))[job.id] == "already"
    assert (await rig.get(job)).status is Status.QUEUED
    await rig.queue.sweep(SHARDS)
    assert await worker.claim(1) == []
    async with asyncio.timeout(10):
        while not (found := await worker.claim(1)):
            await asyncio.sleep(0.05)
            await rig.queue.sweep(SHARDS)
    [again] = found
    assert (again.attempt, again.crashes) == (2, 0)


async def test_jobs_expire_by_deadline_and_by_age_without_any_worker(redis_url: str) -> None:
    async with rig_on(redis_url, max_queue_age_s=2) as rig:
        soon, later = await rig.submit(deadline_s=0.02), await rig.submit()
        await asyncio.sleep(0.03)
        assert await rig.queue.sweep(SHARDS) == [("echo", "1")]
        assert [(await rig.get(j)).status for j in (soon, later)] == ["expired", "queued"]
        await asyncio.sleep(2)
        await rig.queue.sweep(SHARDS)
        assert (await rig.get(later)).status is Status.EXPIRED
        assert await rig.counts() == (0, 0)


async def test_a_deadline_that_passes_after_the_claim_is_kept(rig: Rig) -> None:
    worker = await rig.worker()
    job = await rig.submit(deadline_s=1.5)
    [claimed] = await worker.claim(1)
    await asyncio.sleep(1.51)
    assert (await worker.start([claimed]))[job.id] == "expired"
    late = await rig.submit(deadline_s=0.01)
    await asyncio.sleep(0.02)
    assert await worker.claim(1) == []
    assert worker.expired == 1
    assert (await rig.get(late)).status is Status.EXPIRED


async def test_old_jobs_are_erased_and_leave_no_orphans(redis_url: str) -> None:
    async with rig_on(redis_url, result_ttl_s=0.05) as rig:
        worker = await rig.worker()
        await rig.queue.submit_batch([JOB] * 3, shards=SHARDS)
        await worker.settle([done(job) for job in await worker.claim(3, start=True)])
        await asyncio.sleep(0.06)
        await rig.queue.sweep(SHARDS)
        await worker.leave()
        assert await rig.keys() <= {"counts", "bell", "fence"}


async def test_a_job_knows_how_many_are_before_it(rig: Rig) -> None:
    worker = await rig.worker()
    jobs = [await rig.submit() for _ in range(6)]
    claimed = await worker.claim(3)
    await worker.start(claimed[:1])
    assert [(await rig.get(job)).ahead for job in jobs] == [None, 0, 0, 2, 3, 4]


async def test_a_key_ends_with_its_job_although_nobody_swept_for_long(redis_url: str) -> None:
    async with rig_on(redis_url, result_ttl_s=0.02) as rig:
        worker = await rig.worker()
        first = await rig.submit(idempotency_key="k", fingerprint="f")
        await worker.settle([done(job) for job in await worker.claim(1, start=True)])
        # As if more than the backstop had passed: what has an expiry of its own is gone.
        client = rig.connections.client
        for key in await client.keys("*"):
            if await client.pttl(key) > 0:
                await client.delete(key)
        await asyncio.sleep(0.03)
        await rig.queue.sweep(SHARDS)
        second = await rig.queue.submit(
            replace(JOB, idempotency_key="k", fingerprint="g"), shards=SHARDS
        )
        assert (second.replayed, second.job.id == first.id) == (False, False)
