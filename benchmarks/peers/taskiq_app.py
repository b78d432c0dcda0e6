"""FastAPI with taskiq on Redis Streams: the fastest peer that keeps its jobs in Redis."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from fastapi import FastAPI
from taskiq.serializers import ORJSONSerializer
from taskiq_redis import RedisAsyncResultBackend, RedisStreamBroker
from taskiq_redis.exceptions import ResultIsMissingError

from benchmarks.peers.echo_body import Accepted, EchoInput, Submit

URL = os.environ.get("BENCH_REDIS_URL", "redis://127.0.0.1:6379")
#: taskiq polls for a result; its default of 0.2 s would be the latency.
POLL_S = 0.001

broker = (
    RedisStreamBroker(URL, queue_name="bench:taskiq", consumer_id="0", xread_count=100)
    .with_result_backend(
        RedisAsyncResultBackend(URL, result_ex_time=3600, serializer=ORJSONSerializer())
    )
    .with_serializer(ORJSONSerializer())
)


@broker.task
async def echo(input: dict[str, Any]) -> dict[str, Any]:
    """Return the input."""
    return input


@asynccontextmanager
async def lifespan(_: FastAPI) -> AsyncIterator[None]:
    """Open and close the broker with the process, as taskiq's docs show."""
    await broker.startup()
    yield
    await broker.shutdown()


app = FastAPI(lifespan=lifespan)


@app.post("/jobs", status_code=202)
async def submit(body: Submit) -> Accepted:
    """Enqueue and answer with the task's id."""
    task = await echo.kiq(body.input.model_dump())
    return Accepted(id=task.task_id, status="queued")


@app.post("/wait")
async def submit_and_wait(body: Submit) -> Accepted:
    """Enqueue and hold the answer until the result is there."""
    task = await echo.kiq(body.input.model_dump())
    result = await task.wait_result(check_interval=POLL_S, timeout=60)
    return Accepted(id=task.task_id, status="succeeded", output=EchoInput(**result.return_value))


async def _read(job_id: str) -> dict[str, Any]:
    try:
        result = await broker.result_backend.get_result(job_id)
    except ResultIsMissingError:
        return {"id": job_id, "status": "queued"}
    return {"id": job_id, "status": "succeeded", "output": result.return_value}


@app.get("/jobs")
async def read(ids: str) -> dict[str, Any]:
    """Return the outcomes of many tasks in one answer."""
    return {"data": await asyncio.gather(*(_read(job_id) for job_id in ids.split(",")))}
