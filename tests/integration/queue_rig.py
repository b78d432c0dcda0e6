"""An API's queue and workers on one real Redis, for the tests of the queue."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from msgspec.structs import replace

from jobs.connection import RedisConnections
from jobs.job import Job, NewJob
from jobs.overview import overview
from jobs.policy import QueueOptions
from jobs.queue import JobQueue
from jobs.worker_queue import Claimed, Outcome, WorkerQueue

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


def done(job: Claimed, kind: str = "succeeded", payload: bytes = b"2", **more: float) -> Outcome:
    return Outcome(job.id, job.token, kind, payload, **more)
