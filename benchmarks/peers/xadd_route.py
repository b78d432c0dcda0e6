"""A FastAPI route that parses the body and adds one stream entry: the usual hand-made queue."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from redis.asyncio import Redis

from benchmarks.peers.echo_body import Accepted, Submit

STREAM = "bench:xadd"


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Hold one pool for the life of the process."""
    async with Redis.from_url(os.environ["BENCH_REDIS_URL"]) as redis:
        app.state.redis = redis
        yield


app = FastAPI(lifespan=lifespan)


@app.post("/jobs", status_code=202)
async def submit(body: Submit) -> Accepted:
    """Add the input to the stream and answer with the entry's id."""
    entry = await app.state.redis.xadd(STREAM, {"data": body.model_dump_json()})
    return Accepted(id=entry.decode(), status="queued")
