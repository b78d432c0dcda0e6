"""The number of a model's shards changes, and nothing is lost or accepted twice."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence

from msgspec.structs import replace

from jobs.cards import CardStore, CardWatch
from jobs.connection import RedisConnections
from jobs.job import Job, NewJob
from jobs.policy import QueueOptions
from jobs.queue import JobQueue
from jobs.shards import shards_for_model
from jobs.worker_queue import WorkerQueue

OPTIONS = QueueOptions()
JOB = NewJob(model="echo", version="1", tenant="default", input=b"1", fingerprint="f")


def worker_on(connections: RedisConnections, count: int, name: str = "w") -> WorkerQueue:
    return WorkerQueue(
        connections,
        OPTIONS,
        model="echo",
        version="1",
        shards=shards_for_model("echo", count),
        worker=name,
    )


async def publish(connections: RedisConnections, watch: CardWatch, count: int) -> Sequence[int]:
    shards = shards_for_model("echo", count)
    card = json.dumps({"shards": shards}).encode()
    await CardStore(connections).publish(card, model="echo", version="1")
    await watch.refresh()
    return shards


async def test_a_longer_list_begins_with_the_shorter_one() -> None:
    longest = shards_for_model("echo", 256)
    assert sorted(longest) == list(range(256))
    assert all(shards_for_model("echo", n) == longest[:n] for n in (1, 2, 4, 100))


async def test_a_key_meets_its_first_request_whatever_the_number_is_by_now(redis_url: str) -> None:
    async with (
        RedisConnections(redis_url) as connections,
        CardWatch(connections) as watch,
        JobQueue(connections, OPTIONS, process_id="p") as queue,
    ):

        async def submit(number: int) -> Job:
            key = f"key-{number}"
            shards = await queue.home(watch.get("echo"), "default", key)
            return (await queue.submit(replace(JOB, idempotency_key=key), shards=shards)).job

        first: dict[int, str] = {}
        for count in (1, 4, 2, 8):
            await publish(connections, watch, count)
            for number in range(24):
                assert (await submit(number)).id == first.setdefault(
                    number, (await submit(number)).id
                )
            fresh = len(first)
            first[fresh] = (await submit(fresh)).id
        # New keys spread over the shards of today.
        assert len({(await submit(number)).id[:7] for number in range(100, 140)}) > 4


async def test_jobs_on_shards_of_before_are_listed_served_and_swept(redis_url: str) -> None:
    async with (
        RedisConnections(redis_url) as connections,
        CardWatch(connections) as watch,
        JobQueue(connections, OPTIONS, process_id="p") as queue,
    ):
        four = await publish(connections, watch, 4)
        jobs = {(await queue.submit(JOB, shards=[shard])).job.id for shard in four}
        one = await publish(connections, watch, 1)
        entry = watch.get("echo")
        assert (list(entry.shards), entry.served) == (one, sorted(four))
        assert watch.shards() == {"echo": sorted(four)}
        # A worker of the new number begins to live on the old shards as well.
        worker = worker_on(connections, 1)
        await worker.register({})
        assert {job.id for job in await worker.claim(10)} == jobs
        # The memory outlives further cards.
        await publish(connections, watch, 2)
        assert watch.shards() == {"echo": sorted(four)}


async def test_a_worker_that_lives_follows_a_longer_list(redis_url: str) -> None:
    async with (
        RedisConnections(redis_url) as connections,
        CardWatch(connections) as watch,
        JobQueue(connections, OPTIONS, process_id="p") as queue,
    ):
        await publish(connections, watch, 1)
        worker = worker_on(connections, 1)
        bells = worker.listen()
        await worker.register({})
        four = await publish(connections, watch, 4)
        jobs = {(await queue.submit(JOB, shards=[shard])).job.id for shard in four}
        await worker.sweep()
        assert {job.id for job in await worker.claim(10)} == jobs
        assert not (await worker.beat(jobs, state="ready", stats={})).buried
        # Their bells are heard as well, once the read that was under way has ended.
        job = (await queue.submit(JOB, shards=[four[-1]])).job
        async with asyncio.timeout(20):
            while True:
                if (await anext(bells)).job in {job.id, ""}:
                    break
        await worker.leave()
