"""Cost of a claim as the queue grows, on the real scripts."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator

from redis.asyncio import Redis

from benchmarks.bench import Bench
from benchmarks.report import Row
from jobs.connection import RedisConnections
from jobs.job import NewJob
from jobs.policy import QueueOptions
from jobs.queue import JobQueue
from jobs.shards import shards_for_model
from jobs.states import Priority
from jobs.worker_queue import HandBack, WorkerQueue

CLAIMS = 200
COUNT = 8
PAGE = 250


def measure(bench: Bench) -> list[Row]:
    """Claim 8 at a time from 10³ to 10⁶ queued jobs, and from many tenants."""
    return asyncio.run(_measure(bench))


async def _measure(bench: Bench) -> list[Row]:
    plans = [(f"{size:,} queued", size, 1) for size in bench.sizes.queued]
    size = min(bench.sizes.queued[-1], bench.sizes.tenants * 20)
    plans.append((f"{size:,} queued of {bench.sizes.tenants:,} tenants", size, bench.sizes.tenants))
    costs: list[tuple[str, float]] = []
    for name, size, tenants in plans:
        async with Redis.from_url(bench.redis_url) as client:
            await client.flushall()
            micros = await _cost(bench, client, size, tenants)
        costs.append((name, micros))
        bench.say(f"claim of {COUNT} at {name}: {micros:.0f} us in Redis")
    least = costs[0][1]
    return [
        Row(f"claim of {COUNT}, {name}", "µs", [micros], f"{plans[0][0]}", [least], "flat")
        for name, micros in costs
    ]


async def _cost(bench: Bench, client: Redis, size: int, tenants: int) -> float:
    shards = shards_for_model("echo")
    options = QueueOptions(max_queue_depth=size + 1)
    async with RedisConnections(bench.redis_url) as connections:
        async with JobQueue(connections, options, process_id="bench") as queue:
            for page in _pages(size, tenants):
                await queue.submit_batch(page, shards=shards)
        worker = WorkerQueue(
            connections, options, model="echo", version="1", shards=shards, worker="bench"
        )
        await worker.register({})
        await _claim_and_return(worker, 20)
        before = await _script_time(client)
        times = min(CLAIMS, size // COUNT // 2)
        claimed = [await worker.claim(COUNT) for _ in range(times)]
        spent = await _script_time(client) - before
        for jobs in claimed:
            await worker.hand_back([HandBack(job.id, job.token) for job in jobs])
        if not all(len(jobs) == COUNT for jobs in claimed):
            raise RuntimeError("a claim came back short although jobs were queued")
    return spent / len(claimed)


async def _claim_and_return(worker: WorkerQueue, times: int) -> None:
    for _ in range(times):
        jobs = await worker.claim(COUNT)
        await worker.hand_back([HandBack(job.id, job.token) for job in jobs])


async def _script_time(client: Redis) -> float:
    """Return the microseconds Redis has spent in scripts so far."""
    stats = await client.info("commandstats")
    return sum(
        float(stats[name]["usec"]) for name in ("cmdstat_evalsha", "cmdstat_eval") if name in stats
    )


def _pages(size: int, tenants: int) -> Iterator[list[NewJob]]:
    began = time.monotonic_ns()
    page = max(1, min(PAGE, size // tenants))
    for start in range(0, size, page):
        # A batch belongs to one tenant, so the tenants take turns by the page.
        yield [
            NewJob(
                model="echo",
                version="1",
                tenant=f"tenant{(start // page) % tenants}",
                input=b'{"message":"%d %d"}' % (began, number),
                priority=Priority.NORMAL,
                timeout_s=300.0,
            )
            for number in range(start, min(start + page, size))
        ]
