"""Random lives of jobs: whatever happens in whatever order, the books agree with what is there."""

from __future__ import annotations

import asyncio
import random

import pytest
import redis

from jobs.adoption import Unbroken, adopt
from jobs.audit import audit
from jobs.connection import RedisConnections
from jobs.errors import NoSuchJob, NotCancelable, QueueFull
from jobs.job import NewJob
from jobs.outbox import Outbox
from jobs.policy import QueueOptions
from jobs.queue import JobQueue
from jobs.states import Priority
from jobs.worker_queue import Claimed, HandBack, Outcome, WorkerQueue

PREFIX = "hr:{s017}:"
SHARDS = [17]
OPTIONS = QueueOptions(
    result_ttl_s=0.08, dead_ttl_s=0.12, max_queue_age_s=0.5, max_queue_depth=60, beat_limit_s=0.05
)


class Storm:
    """Does one random thing after another, as clients and workers would."""

    def __init__(self, queue: JobQueue, connections: RedisConnections, seed: int) -> None:
        self.random = random.Random(seed)
        self.queue = queue
        self.connections = connections
        self.unbroken = Unbroken()
        self.ids: list[tuple[str, str]] = []
        self.finals: dict[str, tuple[str, bytes | None]] = {}
        self.workers = [
            WorkerQueue(
                connections, OPTIONS, model="m", version="1", shards=SHARDS, worker=f"w{number}"
            )
            for number in range(3)
        ]
        self.hands: dict[str, list[Claimed]] = {}

    async def step(self) -> None:
        acts = [self.submit] * 5 + [self.claim] * 4 + [self.settle] * 4 + [self.hand_back]
        acts += [self.cancel] * 2 + [self.batch, self.delete, self.sweep, self.life, self.adopt]
        await self.random.choice(acts)()

    def new_job(self) -> NewJob:
        pick = self.random
        return NewJob(
            model="m",
            version="1",
            tenant=pick.choice(["a", "b"]),
            input=b"1",
            priority=pick.choice(list(Priority)),
            deadline_s=pick.choice([None, None, 0.01, 0.2]),
            idempotency_key=pick.choice([None, None, f"k{pick.randrange(9)}"]),
            fingerprint="f",
            webhook=pick.choice([None, b'{"url":"x"}']),
        )

    async def submit(self) -> None:
        job = self.new_job()
        try:
            made = (await self.queue.submit(job, shards=SHARDS)).job
        except QueueFull:
            return
        self.ids.append((made.id, job.tenant))

    async def batch(self) -> None:
        job = NewJob(model="m", version="1", tenant="a", input=b"2")
        try:
            made = await self.queue.submit_batch([job] * 4, shards=SHARDS)
        except QueueFull:
            return
        self.ids += [(each.id, "a") for each in made.jobs]

    async def claim(self) -> None:
        worker = self.random.choice(self.workers)
        start = self.random.random() < 0.5
        got = await worker.claim(self.random.randint(1, 6), start=start, steal=True)
        if got and not start:
            verdicts = await worker.start(got[::2])
            got = [job for job in got if verdicts.get(job.id, "ok") == "ok"]
        self.hands.setdefault(worker.life, []).extend(got)

    def held(self, worker: WorkerQueue) -> list[Claimed]:
        hand = self.hands.get(worker.life, [])
        self.random.shuffle(hand)
        taken = [hand.pop() for _ in range(min(len(hand), self.random.randint(1, 4)))]
        return taken

    async def settle(self) -> None:
        worker = self.random.choice(self.workers)
        kinds = ["succeeded", "failed", "timed_out", "retry", "canceled"]
        outcomes = [
            Outcome(job.id, job.token, self.random.choice(kinds), b"3", backoff_s=0.02)
            for job in self.held(worker)
        ]
        first = await worker.settle(outcomes)
        # A lost reply: the same again must change nothing, and say so of what had been canceled.
        again = await worker.settle(outcomes)
        for each in outcomes:
            expected = {"already", "stale"}
            if first[each.id] == "canceled":
                expected = {"already" if each.kind == "canceled" else "canceled"}
            assert again[each.id] in expected, (each, first[each.id])

    async def hand_back(self) -> None:
        worker = self.random.choice(self.workers)
        backs = [
            HandBack(job.id, job.token, charge=self.random.random() < 0.5, alone=True)
            for job in self.held(worker)
        ]
        await worker.hand_back(backs)
        assert set((await worker.hand_back(backs)).values()) <= {"stale"}

    async def cancel(self) -> None:
        if self.ids:
            identifier, tenant = self.random.choice(self.ids)
            try:
                await self.queue.cancel(identifier, tenant)
            except (NoSuchJob, NotCancelable):
                return

    async def delete(self) -> None:
        if self.ids:
            identifier, tenant = self.random.choice(self.ids)
            try:
                await self.queue.delete(identifier, tenant)
            except (NoSuchJob, NotCancelable):
                return

    async def sweep(self) -> None:
        # A sweep that finds a job untold looks at it again in a minute only.
        await self.forget_events()
        await self.queue.sweep(SHARDS)

    async def life(self) -> None:
        worker = self.random.choice(self.workers)
        if self.random.random() < 0.5:
            await worker.leave()
        await worker.register({})

    async def adopt(self) -> None:
        await asyncio.sleep(0.02)
        for worker in self.workers[1:]:
            await worker.beat([], state="ready", stats={})
        await adopt(self.connections, OPTIONS, SHARDS, self.unbroken)

    async def forget_events(self) -> None:
        """Empty the outbox as a sender does that can tell nobody: each event was told of a job
        that is still there, or of what is left of it.
        """
        outbox = Outbox(self.connections, OPTIONS, sender="s")
        while events := await outbox.untold(SHARDS[0], 50):
            assert all(event.webhook is not None for event in events)
            await outbox.forget(SHARDS[0], events)

    async def note_finals(self) -> None:
        """A final state, once seen, is never seen otherwise."""
        jobs = await self.queue.read([identifier for identifier, _ in self.ids])
        for job in jobs:
            if job is not None and job.final:
                seen = (job.status.value, job.output or job.error)
                assert self.finals.setdefault(job.id, seen) == seen


@pytest.mark.parametrize("seed", range(12))
async def test_the_books_agree_after_any_storm(redis_url: str, seed: int) -> None:
    client = redis.Redis.from_url(redis_url, decode_responses=True)
    async with (
        RedisConnections(redis_url) as connections,
        JobQueue(connections, OPTIONS, process_id="p") as queue,
    ):
        storm = Storm(queue, connections, seed)
        for worker in storm.workers:
            await worker.register({})
        for number in range(160):
            await storm.step()
            if number % 8 == 0:
                await storm.note_finals()
                assert await audit(connections, OPTIONS, SHARDS, look_again_s=0) == []
        for worker in storm.workers:
            await worker.leave()
        for identifier, tenant in storm.ids:
            try:
                await queue.cancel(identifier, tenant)
            except (NoSuchJob, NotCancelable):
                continue
        await storm.forget_events()
        await asyncio.sleep(0.15)
        await queue.sweep(SHARDS)
        assert await audit(connections, OPTIONS, look_again_s=0) == []
    left = {key.removeprefix(PREFIX).partition(":")[0] for key in client.scan_iter("*")}
    assert left <= {"counts", "bell", "fence", "outbox", "stats"}
    client.close()
