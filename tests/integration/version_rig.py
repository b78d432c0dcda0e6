"""Versions of one model on a real Redis, for the tests of them."""

from __future__ import annotations

import orjson

from api.load import wanted_workers
from jobs.cards import CardStore
from jobs.job import Job
from jobs.overview import ModelOverview, overview
from jobs.worker_queue import WorkerQueue
from tests.integration.queue_rig import SHARDS, Rig


async def publish(rig: Rig, *versions: str) -> None:
    """Publish a card of each version; the last one is in production."""
    for version in versions:
        card = orjson.dumps({"name": "echo", "version": version, "shards": SHARDS})
        await CardStore(rig.connections).publish(card, model="echo", version=version)


async def worker_of(rig: Rig, version: str, name: str = "", **info: str) -> WorkerQueue:
    worker = WorkerQueue(
        rig.connections,
        rig.options,
        model="echo",
        version=version,
        shards=SHARDS,
        worker=name or f"of-{version}",
    )
    await worker.register({"state": "ready", **info})
    return worker


async def load(rig: Rig, *versions: str, production: str = "2") -> ModelOverview:
    return await overview(
        rig.connections,
        rig.options,
        model="echo",
        versions=versions,
        shards=SHARDS,
        production=production,
    )


def figures(load: ModelOverview) -> tuple[int, int, int, int]:
    """What waits, what runs, how many workers there are, how many are wanted."""
    return load.queued, load.running, len(load.workers), wanted_workers(load)


async def versions_of(rig: Rig, jobs: list[Job]) -> list[str]:
    return [(await rig.queue.get(job.id, job.tenant)).version for job in jobs]


async def kept(rig: Rig, name: str = "0") -> WorkerQueue:
    """Return a worker of the first version that is there for who pins it, first by its name."""
    return await worker_of(rig, "1", name, pinned_only="1")
