"""The life of a job through the real scripts on a real Redis."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest

from jobs.connection import RedisConnections
from jobs.errors import (
    IdempotencyConflict,
    MalformedRequest,
    NoSuchBatch,
    NoSuchJob,
    NotCancelable,
    QueueFull,
)
from jobs.job import Job, NewJob
from jobs.listing import Filter
from jobs.overview import overview
from jobs.policy import QueueOptions
from jobs.queue import JobQueue
from jobs.states import Priority, Status
from jobs.worker_queue import Claimed, HandBack, Outcome, Unbroken, WorkerQueue, adopt

SHARDS = [17]
JOB = NewJob(model="echo", version="1", tenant="default", input=b'{"x":1}')


class Rig:
    """An API's queue, and workers on the same Redis."""

    def __init__(self, connections: RedisConnections, queue: JobQueue, options: QueueOptions):
        self.connections = connections
        self.queue = queue
        self.options = options

    async def worker(self, name: str = "w1", **info: str) -> WorkerQueue:
        worker = WorkerQueue(
            self.connections, self.options, model="echo", version="1", shards=SHARDS, worker=name
        )
        await worker.register(info)
        return worker

    async def submit(self, **changes: object) -> Job:
        return (await self.queue.submit(replace(JOB, **changes), shards=SHARDS)).job

    async def get(self, job: Job) -> Job:
        return await self.queue.get(job.id, "default")

    async def counts(self) -> tuple[int, int]:
        seen = await overview(
            self.connections, self.options, model="echo", versions=["1"], shards=SHARDS
        )
        return seen.queued, seen.running

    async def keys(self) -> set[str]:
        found = await self.connections.client.keys("*")
        return {key.decode().partition("}:")[2].partition(":")[0] for key in found}


@asynccontextmanager
async def rig_on(url: str, **options: float) -> AsyncIterator[Rig]:
    chosen = QueueOptions(**options)  # type: ignore[arg-type]
    async with (
        RedisConnections(url) as connections,
        JobQueue(connections, chosen, process_id="test") as queue,
    ):
        yield Rig(connections, queue, chosen)


@pytest.fixture
async def rig(redis_url: str) -> AsyncIterator[Rig]:
    async with rig_on(redis_url) as rig:
        yield rig


def done(job: Claimed, kind: str = "succeeded", payload: bytes = b"2", **more: float) -> Outcome:
    return Outcome(job.id, job.token, kind, payload, **more)


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
    assert (await rig.queue.cancel(queued.id, "default")).status is Status.CANCELED
    first, second = await worker.claim(2)
    assert (await rig.queue.cancel(claimed_job.id, "default")).status is Status.CANCELED
    assert await worker.start([first, second]) == {first.id: "canceled", second.id: "ok"}
    canceling = await rig.queue.cancel(running_job.id, "default")
    assert canceling.status is Status.CANCELING
    assert (await rig.queue.cancel(running_job.id, "default")).status is Status.CANCELING
    assert (await worker.settle([done(second)]))[second.id] == "canceled"
    ended = await rig.get(running_job)
    assert (ended.status, ended.output) == (Status.CANCELED, None)
    assert b'"code":"canceled"' in (ended.error or b"")
    assert (await rig.queue.cancel(queued.id, "default")).status is Status.CANCELED


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


async def test_a_retryable_outcome_waits_its_backoff(rig: Rig) -> None:
    worker = await rig.worker()
    job = await rig.submit()
    [claimed] = await worker.claim(1, start=True)
    retry = done(claimed, "retry", backoff_s=0.05)
    assert (await worker.settle([retry]))[job.id] == "retry"
    assert (await worker.settle([retry]))[job.id] == "already"
    assert (await rig.get(job)).status is Status.QUEUED
    await rig.queue.sweep(SHARDS)
    assert await worker.claim(1) == []
    await asyncio.sleep(0.06)
    await rig.queue.sweep(SHARDS)
    [again] = await worker.claim(1)
    assert (again.attempt, again.crashes) == (2, 0)


async def test_jobs_expire_by_deadline_and_by_age_without_any_worker(redis_url: str) -> None:
    async with rig_on(redis_url, max_queue_age_s=0.2) as rig:
        soon, later = await rig.submit(deadline_s=0.02), await rig.submit()
        await asyncio.sleep(0.03)
        await rig.queue.sweep(SHARDS)
        assert [(await rig.get(j)).status for j in (soon, later)] == ["expired", "queued"]
        await asyncio.sleep(0.2)
        await rig.queue.sweep(SHARDS)
        assert (await rig.get(later)).status is Status.EXPIRED
        assert await rig.counts() == (0, 0)


async def test_a_deadline_that_passes_after_the_claim_is_kept(rig: Rig) -> None:
    worker = await rig.worker()
    job = await rig.submit(deadline_s=0.02)
    [claimed] = await worker.claim(1)
    await asyncio.sleep(0.03)
    assert (await worker.start([claimed]))[job.id] == "expired"
    late = await rig.submit(deadline_s=0.01)
    await asyncio.sleep(0.02)
    assert await worker.claim(1) == []
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
