"""The append-only file, script by script, and a redis-server that is started on a part of it."""

from __future__ import annotations

import asyncio
import functools
import shutil
import subprocess
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import msgspec
import redis

from headrace.chaos.resp import Messages
from headrace.embedded_redis import find_server
from jobs import scripts
from jobs.adoption import adopted_from
from jobs.connection import RedisConnections
from jobs.job import NewJob
from jobs.policy import QueueOptions
from jobs.queue import JobQueue
from jobs.scripts import Script
from jobs.states import Priority
from jobs.webhook import EVENTS, Webhook
from jobs.worker_queue import Claimed, HandBack, Outcome, WorkerQueue

from .torn_calls import every_call

SHARDS = [17]
#: Of every event there is.
WEBHOOK = msgspec.json.encode(Webhook(url="https://x.test/", events=EVENTS))
OPTIONS = QueueOptions(
    result_ttl_s=600, dead_ttl_s=600, max_queue_age_s=600, beat_limit_s=0.1, max_crashes=1
)
#: For a sweep that is to erase what has just ended; its keys outlive the test all the same.
BRIEF = replace(OPTIONS, result_ttl_s=0.001, dead_ttl_s=0.001)
#: For a sweep that is to expire all that waits.
IMPATIENT = replace(OPTIONS, max_queue_age_s=0.001)


@functools.cache
def _server() -> str:
    return str(find_server().path)


@dataclass(frozen=True, slots=True)
class Written:
    """What one call of a script put into the file: nothing where both ends are one."""

    script: str
    begin: int
    end: int


class Recorder(RedisConnections):
    """Notes what each script writes; one call at a time, with `appendfsync always`."""

    def __init__(self, url: str, log: Path) -> None:
        super().__init__(url)
        self._log = log
        self.written: list[Written] = []

    async def run(self, script: Script, shard: int, args: Sequence[bytes | str | float]) -> Any:
        """Run a script, as usual."""
        begin = self._log.stat().st_size
        answer = await super().run(script, shard, args)
        self.written.append(Written(script.name, begin, self._log.stat().st_size))
        return answer


class Server:
    """A redis-server on a folder of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"unix://{folder}/r.sock"
        command = [_server(), "--port", "0", "--unixsocket", f"{folder}/r.sock"]
        command += ["--dir", str(folder), "--save", "", "--appendonly", "yes"]
        command += ["--appendfsync", "always", "--auto-aof-rewrite-percentage", "0"]
        command += ["--aof-load-truncated", "yes", "--loglevel", "warning"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        with redis.Redis.from_url(self.url) as client:
            end = time.monotonic() + 20
            while True:
                try:
                    client.ping()
                except redis.RedisError:
                    if time.monotonic() > end or self._process.poll() is not None:
                        raise
                    time.sleep(0.005)
                else:
                    return

    @property
    def log(self) -> Path:
        """The part of the append-only file that grows."""
        return next((self.folder / "appendonlydir").glob("*.incr.aof"))

    def kill(self) -> None:
        """End it as a power cut would."""
        self._process.kill()
        self._process.wait()


def started_on(whole: Path, folder: Path, length: int) -> Server:
    """Start a server on a copy of a data folder whose log breaks off after so many bytes."""
    shutil.copytree(whole / "appendonlydir", folder / "appendonlydir")
    log = next((folder / "appendonlydir").glob("*.incr.aof"))
    with log.open("r+b") as file:
        file.truncate(length)
    return Server(folder)


def contents(url: str) -> dict[bytes, Any]:
    """Return all that is in a server: types, values and times of death."""
    readers: dict[bytes, Callable[[redis.Redis, bytes], Any]] = {
        b"string": lambda client, key: client.get(key),
        b"hash": lambda client, key: client.hgetall(key),
        b"list": lambda client, key: client.lrange(key, 0, -1),
        b"zset": lambda client, key: client.zrange(key, 0, -1, withscores=True),
        b"stream": lambda client, key: (
            client.xinfo_stream(key)["last-generated-id"],
            client.xrange(key),
        ),
    }
    with redis.Redis.from_url(url) as client:
        return {
            key: (client.expiretime(key), readers[client.type(key)](client, key))
            for key in client.keys("*")
        }


def commands_of(log: bytes, written: Written) -> list[bytes]:
    """Return the commands that a call of a script left."""
    return Messages().feed(log[written.begin : written.end])


async def every_transition(recorder: Recorder) -> None:
    """Let each script do each thing that it can do, with one job and with several."""
    async with JobQueue(recorder, OPTIONS, process_id="torn") as queue:
        for count in (1, 3):
            await _Story(recorder, queue, count).tell()


class _Story:
    """One round of everything, with so many jobs a call."""

    def __init__(self, recorder: Recorder, queue: JobQueue, count: int) -> None:
        self._recorder, self._queue, self._count = recorder, queue, count
        self._names = 0

    async def tell(self) -> None:
        await self._ends()
        await self._ways_back()
        await self._deaths()
        await self._versions()
        await self._times()
        await every_call(self._recorder, OPTIONS, self._count)
        await self._reads()

    def _job(self, **changes: Any) -> NewJob:
        given = {"metadata": b'{"a":1}', "webhook": WEBHOOK, **changes}
        return NewJob(model="echo", version="1", tenant="t", input=b'{"x":1}', **given)

    async def _submit(self, **changes: Any) -> list[str]:
        self._names += 1
        if self._count > 1:
            jobs = [self._job(**changes)] * self._count
            key = f"b{self._count}-{self._names}"
            made = await self._queue.submit_batch(jobs, shards=SHARDS, idempotency_key=key)
            return [job.id for job in made.jobs]
        job = self._job(idempotency_key=f"k{self._names}", fingerprint="f", **changes)
        return [(await self._queue.submit(job, shards=SHARDS)).job.id]

    async def _worker(self, name: str) -> WorkerQueue:
        worker = WorkerQueue(
            self._recorder, OPTIONS, model="echo", version="1", shards=SHARDS, worker=name
        )
        await worker.register({"host": "h"})
        return worker

    async def _claimed(self, worker: WorkerQueue, *, start: bool = False) -> list[Claimed]:
        await self._submit(priority=Priority.HIGH)
        jobs = await worker.claim(8, start=start)
        assert jobs
        if not start:
            await worker.start(jobs)
        return jobs

    async def _ends(self) -> None:
        worker = await self._worker("ends")
        for kind in ("succeeded", "failed", "timed_out", "retry"):
            jobs = await self._claimed(worker, start=kind == "failed")
            await worker.progress([(job.id, job.token, b'{"fraction":1}') for job in jobs])
            await self._recorder.run(
                scripts.READ, SHARDS[0], [*OPTIONS.policy, "hr:wake:x", *(j.id for j in jobs)]
            )
            outcomes = [
                Outcome(job.id, job.token, kind, b"2", backoff_s=0.01, code="c", detail="d")
                for job in jobs
            ]
            await worker.settle(outcomes)
            await worker.settle(outcomes)
            await worker.beat([], state="ready", stats={"seconds_per_job": "0.1"})
        await asyncio.sleep(0.02)
        await worker.sweep()
        await worker.leave()

    async def _ways_back(self) -> None:
        worker = await self._worker("back")
        for charge in (False, True):
            jobs = await self._claimed(worker)
            backs = [
                HandBack(job.id, job.token, charge=charge, alone=charge, reason="r") for job in jobs
            ]
            await worker.hand_back(backs)
        for step in ("queued", "claimed", "running"):
            ids = await self._submit()
            jobs = [] if step == "queued" else await worker.claim(8)
            if step == "running":
                await worker.start(jobs)
            for each in ids:
                await self._queue.cancel(each, "t")
            if jobs:
                await worker.hand_back([HandBack(job.id, job.token) for job in jobs])
            await self._queue.delete(ids[0], "t")
        await self._claimed(worker)
        await worker.leave()

    async def _deaths(self) -> None:
        for name in ("same", "same", "gone"):
            worker = await self._worker(name)
            await self._claimed(worker)
            await self._submit()
            await worker.claim(8)
        thief = await self._worker("thief")
        await thief.claim(1, steal=True)
        await asyncio.sleep(0.15)
        await thief.beat([], state="ready", stats={})
        args = [*OPTIONS.policy, 100, 1000, 500]
        rows = await self._recorder.run(scripts.ADOPT, SHARDS[0], args)
        assert adopted_from(rows)
        await thief.leave()

    async def _versions(self) -> None:
        worker = await self._worker("before")
        jobs = await self._claimed(worker)
        await worker.hand_back([HandBack(job.id, job.token) for job in jobs])
        await worker.leave()
        await self._submit(pinned=True)
        waiting = await self._submit()
        heir = WorkerQueue(
            self._recorder, OPTIONS, model="echo", version="2", shards=SHARDS, worker="heir"
        )
        await heir.register({"state": "ready"})
        args = [*OPTIONS.policy, heir.life, "echo", "2", "2", 100, "1"]
        assert await self._recorder.run(scripts.FOLLOW, SHARDS[0], args) >= 2 * self._count
        await heir.leave()
        for each in waiting:
            await self._queue.cancel(each, "t")

    async def _times(self) -> None:
        ids = await self._submit(deadline_s=0.001)
        await asyncio.sleep(0.01)
        late = await self._worker("late")
        await late.claim(8)
        await late.leave()
        await self._submit()
        await asyncio.sleep(0.01)
        for options in (IMPATIENT, BRIEF):
            queue = JobQueue(self._recorder, options, process_id="times")
            await queue.sweep(SHARDS)
        assert await self._queue.read(ids)

    async def _reads(self) -> None:
        ids = await self._submit()
        run, policy = self._recorder.run, OPTIONS.policy
        await run(scripts.OVERVIEW, SHARDS[0], [*policy, "echo", 10_000, "1"])
        await run(scripts.DEAD, SHARDS[0], [*policy, 10, ""])
        await run(scripts.ATTEMPTS, SHARDS[0], [*policy, *ids])
        await run(scripts.RETRIED, SHARDS[0], [*policy, ids[0], ids[0]])
        await run(scripts.LOOK, SHARDS[0], [*policy, "due"])
