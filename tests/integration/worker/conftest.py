"""A whole worker in the test's own loop, with a real engine process and a real Redis."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import uvloop

from jobs.cards import CardStore
from jobs.connection import RedisConnections
from jobs.job import Job, NewJob
from jobs.policy import QueueOptions
from jobs.queue import JobQueue
from jobs.shards import shards_for_model
from jobs.worker_queue import WorkerQueue
from model_store.manifest import read_manifest
from telemetry import logs
from telemetry.exposition import Exposition
from worker.assembly import build_station
from worker.holding import Phase
from worker.learned import LearnedFile
from worker.life import Worker
from worker.probing import Readiness, readiness
from worker.settings import WorkerSettings
from worker.station import Station

ACTOR = Path(__file__).parent / "actor"
SHARDS = shards_for_model("actor")
#: of a wait that ends well, on the slowest machine
PATIENCE_S = 30.0


def pytest_asyncio_loop_factories(config: object, item: object) -> dict[str, Any]:
    """The loop that a worker runs on: it differs where a connection has ended."""
    return {"uvloop": uvloop.new_event_loop}


async def until(ask: Callable[[], Any], what: str = "", seconds: float = PATIENCE_S) -> Any:
    """Ask until the answer is true."""
    end = time.monotonic() + seconds
    while True:
        answer = ask()
        if isinstance(answer, Awaitable):
            answer = await answer
        if answer:
            return answer
        assert time.monotonic() < end, f"not within {seconds} s: {what}"
        await asyncio.sleep(0.01)


class LiveWorker:
    """One worker and its station."""

    def __init__(self, station: Station, worker: Worker) -> None:
        self.station = station
        self.worker = worker
        self.task = asyncio.create_task(worker.run())

    @property
    def engine_pid(self) -> int:
        assert self.station.engine.pid is not None
        return self.station.engine.pid

    def ready(self) -> Readiness:
        return readiness(self.station)

    async def loaded(self) -> None:
        await until(
            lambda: self.station.engine.ready and self.station.registered, "the worker loads"
        )

    async def stop(self) -> bool:
        self.worker.stop()
        return await asyncio.wait_for(self.task, PATIENCE_S)

    async def end(self) -> None:
        if not self.task.done():
            self.worker.stop()
            self.worker.stop()
            await asyncio.wait_for(self.task, PATIENCE_S)


class Rig:
    """The API's side of the queue, and any number of workers."""

    def __init__(self, url: str, folder: Path, queue: JobQueue) -> None:
        self.url = url
        self.folder = folder
        self.queue = queue
        self.workers: list[LiveWorker] = []
        self._stack = contextlib.AsyncExitStack()

    async def start(self, model: Path = ACTOR, **settings: Any) -> LiveWorker:
        """Start a worker and wait until its model is loaded."""
        live = await self.start_unloaded(model, **settings)
        await live.loaded()
        return live

    async def start_unloaded(self, model: Path = ACTOR, **settings: Any) -> LiveWorker:
        name = f"w{len(self.workers) + 1}"
        read = WorkerSettings(
            redis_url=self.url, data_dir=self.folder / name, **{"cancel_grace_s": 0.2, **settings}
        )
        connections = await self._stack.enter_async_context(RedisConnections(self.url))
        manifest = read_manifest(model)
        learned = LearnedFile(read.data_dir, manifest.name, manifest.version, read.device)
        station = build_station(
            read, manifest, read.worker_name or name, connections, learned, Exposition().metrics
        )
        worker = Worker(station, CardStore(connections), learned, connections.verify)
        live = LiveWorker(station, worker)
        self.workers.append(live)
        return live

    async def busy_with(self, do: str, **fields: Any) -> Job:
        """A job whose predict has begun."""
        job = await self.submit(do, **fields)

        def on_gpu() -> bool:
            held = [live.station.holding.jobs.get(job.id) for live in self.workers]
            return any(each is not None and each.phase is Phase.ON_GPU for each in held)

        await until(on_gpu, f"{job.id} is on the GPU")
        return job

    @property
    def gate(self) -> Path:
        """What a job given `gate=str(rig.gate)` waits for: it runs until the test touches it."""
        return self.folder / "gate"

    async def bury(self, name: str) -> None:
        """What registering a worker of the same name does to one that lives."""
        async with RedisConnections(self.url) as connections:
            queue = WorkerQueue(
                connections, QueueOptions(), model="actor", version="1", shards=SHARDS, worker=name
            )
            await queue.register({})
            await queue.leave()

    async def close(self) -> None:
        for live in self.workers:
            await live.end()
        await self._stack.aclose()

    async def submit(self, do: str = "echo", **fields: Any) -> Job:
        options = {key: fields.pop(key) for key in ("timeout_s", "deadline_s") if key in fields}
        tenant = fields.pop("tenant", "default")
        job = NewJob(
            model="actor",
            version="1",
            tenant=tenant,
            input=json.dumps({"do": do, **fields}).encode(),
            **options,
        )
        return (await self.queue.submit(job, shards=SHARDS)).job

    async def wait(self, job: Job, timeout_s: float = PATIENCE_S) -> Job:
        found = await self.queue.wait(job.id, job.tenant, timeout_s)
        assert found.final, f"still {found.status}"
        return found

    async def run(self, do: str = "echo", **fields: Any) -> Job:
        return await self.wait(await self.submit(do, **fields))

    async def status(self, job: Job) -> str:
        return str((await self.queue.get(job.id, job.tenant)).status)

    async def becomes(self, job: Job, status: str) -> None:
        async def is_so() -> bool:
            return await self.status(job) == status

        await until(is_so, f"{job.id} becomes {status}")


@pytest.fixture(scope="session", autouse=True)
def quiet_logs() -> None:
    """Structured lines from `info` up, as a process has them."""
    logs.configure("json", "test")


@contextlib.asynccontextmanager
async def rig_on(url: str, folder: Path) -> AsyncIterator[Rig]:
    async with (
        RedisConnections(url) as connections,
        JobQueue(connections, QueueOptions(), process_id="test") as queue,
    ):
        rig = Rig(url, folder, queue)
        try:
            yield rig
        finally:
            await rig.close()


@pytest.fixture
async def rig(redis_url: str, tmp_path: Path) -> AsyncIterator[Rig]:
    """On the session's Redis, emptied."""
    async with rig_on(redis_url, tmp_path) as rig:
        yield rig


@pytest.fixture
async def own_rig(own_redis: Any, tmp_path: Path) -> AsyncIterator[Rig]:
    """On a Redis that the test may kill."""
    async with rig_on(own_redis.url, tmp_path) as rig:
        yield rig


@pytest.fixture(name="until")
def until_fixture() -> Callable[..., Awaitable[Any]]:
    """`await until(ask, what)`: ask until the answer is true."""
    return until
