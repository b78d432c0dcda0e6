"""Redis memory per queued job, with every index, less the payload."""

from __future__ import annotations

import asyncio
import json

from redis.asyncio import Redis

from benchmarks.bench import Bench, echo_bodies
from benchmarks.generate import Load
from benchmarks.processes import headrace_api, headrace_worker
from benchmarks.report import Row


def measure(bench: Bench) -> list[Row]:
    """Queue jobs one by one with no worker alive and divide what Redis grew by."""
    bodies = echo_bodies(bench.sizes.bytes_jobs)
    payload = sum(len(json.dumps(json.loads(body)["input"])) for body in bodies)
    with headrace_api(bench.redis_url, bench.log("api")) as api:
        with headrace_worker(api, bench.redis_url, "echo", bench.log("worker")):
            pass  # it has published the card, which outlives it
        bench.load(Load(api.port, "/v1/models/echo/jobs", bodies[:100])).demand(202)
        before = asyncio.run(_used(bench.redis_url))
        bench.load(Load(api.port, "/v1/models/echo/jobs", bodies)).demand(202)
        after = asyncio.run(_used(bench.redis_url))
    each = (after - before - payload) / len(bodies)
    return [Row("Redis per queued job, less payload", "B", [each], aim="≤ 1,000")]


async def _used(url: str) -> int:
    async with Redis.from_url(url) as client:
        # Buffers of clients that are about to go are not the queue's.
        await asyncio.sleep(1.0)
        memory = await client.info("memory")
    return int(memory["used_memory"]) - int(memory["mem_clients_normal"])
