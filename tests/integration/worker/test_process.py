"""The worker as a process: probes, signals, a Redis that dies, a feeder that dies or stops."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from jobs import keys
from jobs.shards import shards_for_model
from tests.processes import alive

ACTOR = Path(__file__).parent / "actor"


class Process:
    """A worker process and the port of its probes."""

    def __init__(self, url: str, folder: Path, **settings: object) -> None:
        folder.mkdir(exist_ok=True)
        self.log = folder / "worker.log"
        environment = {key: value for key, value in os.environ.items() if "HEADRACE" not in key}
        environment |= {
            "HEADRACE_REDIS_URL": url,
            "HEADRACE_DATA_DIR": str(folder / "data"),
            "HEADRACE_WORKER_PORT": "0",
            "HEADRACE_LOG_FORMAT": "json",
        }
        environment |= {f"HEADRACE_{key.upper()}": str(value) for key, value in settings.items()}
        with self.log.open("ab") as log:
            self.running = subprocess.Popen(
                [sys.executable, "-P", "-m", "worker", str(ACTOR)], env=environment, stderr=log
            )

    def seen(self, event: str) -> list[dict[str, Any]]:
        found = []
        # The last line may be on its way.
        for line in self.log.read_text().split("\n")[:-1]:
            if f'"event": "{event}"' in line:
                found.append(json.loads(line))
        return found

    async def get(self, path: str) -> httpx.Response:
        port = self.seen("probes_served")[-1]["port"]
        async with httpx.AsyncClient() as client:
            return await client.get(f"http://127.0.0.1:{port}{path}")

    async def ready(self) -> None:
        end = time.monotonic() + 40
        while not self.seen("card_published"):
            assert time.monotonic() < end, self.log.read_text()
            assert self.running.poll() is None, self.log.read_text()
            await asyncio.sleep(0.02)

    def stopped(self) -> bool:
        """Whether a SIGSTOP has come through."""
        return "\nState:\tT" in Path(f"/proc/{self.running.pid}/status").read_text()

    async def stop(self) -> int:
        self.running.send_signal(signal.SIGTERM)
        return await asyncio.to_thread(self.running.wait, 40)


@pytest.fixture
def started() -> Iterator[list[Process]]:
    processes: list[Process] = []
    yield processes
    for each in processes:
        if each.running.poll() is None:
            each.running.kill()
        each.running.wait()


async def test_probes_metrics_and_logs_tell_what_a_worker_does(
    rig, redis_url, tmp_path, started, until
):
    started.append(worker := Process(redis_url, tmp_path))
    await worker.ready()
    assert (await worker.get("/livez")).status_code == 200
    health = await worker.get("/healthz")
    assert (health.status_code, health.json()["state"]) == (200, "ready")
    job = await rig.run("raise")
    (line,) = await until(lambda: worker.seen("job_settled"), "the worker hears that it is stored")
    text = (await worker.get("/metrics")).text
    assert re.search(
        r'headrace_jobs_finished_total\{code="model_error",model="actor",status="failed",'
        r'version="1"\} 1\.0',
        text,
    )
    for name in ("batch_size", "queue_seconds", "run_seconds", "end_to_end_seconds"):
        assert f'headrace_{name}_count{{model="actor"}} 1.0' in text
    assert (line["job_id"], line["model"]) == (job.id, "actor")
    assert line["worker"] == job.worker
    assert await worker.stop() == 0
    assert worker.seen("worker_left")


async def test_a_feeder_killed_with_jobs_leaves_them_to_its_next_life(
    rig, redis_url, tmp_path, started, until
):
    started.append(first := Process(redis_url, tmp_path))
    await first.ready()
    running = await rig.submit("sleep", gate=str(rig.gate))
    await rig.becomes(running, "running")
    waiting = [await rig.submit(value=number) for number in range(20)]
    engine = first.seen("engine_spawned")[0]["engine_pid"]
    first.running.kill()
    first.running.wait()
    rig.gate.touch()
    started.append(Process(redis_url, tmp_path))
    job = await rig.wait(running)
    assert (job.status, job.crashes) == ("succeeded", 1)
    for each in waiting:
        other = await rig.wait(each)
        assert (other.status, other.crashes) == ("succeeded", 0)
    await until(lambda: not alive(engine), "an engine ends with its feeder")


async def test_a_worker_one_of_whose_tasks_fails_ends_at_once_and_says_so(
    rig, redis_url, tmp_path, started
):
    started.append(worker := Process(redis_url, tmp_path, beat_limit_s=2))
    await worker.ready()
    running = await rig.submit("sleep", seconds=30)
    await rig.becomes(running, "running")
    (engine,) = [each["engine_pid"] for each in worker.seen("engine_spawned")]
    (shard,) = shards_for_model("actor")
    with redis.Redis.from_url(redis_url) as client:
        # No fault that a script knows of, nor one that passes.
        beats = f"{keys.shard_prefix('hr', shard)}beats"
        client.pipeline().delete(beats).set(beats, "no set of beats").execute()
    assert await asyncio.to_thread(worker.running.wait, 10) == 1
    (failed,) = worker.seen("worker_failed")
    assert "WRONGTYPE" in failed["exception"]
    assert not alive(engine)


@pytest.mark.parametrize("busy", [False, True])
async def test_a_feeder_that_is_killed_takes_its_engine_with_it_at_once(
    rig, redis_url, tmp_path, started, until, busy
):
    started.append(worker := Process(redis_url, tmp_path))
    await worker.ready()
    if busy:
        # Stuck where no Python runs: the engine cannot see that the line is dead.
        await rig.becomes(await rig.submit("hold the GIL"), "running")
    (engine,) = [each["engine_pid"] for each in worker.seen("engine_spawned")]
    assert alive(engine)
    worker.running.kill()
    began = time.monotonic()
    await until(lambda: not alive(engine), "the engine ends")
    assert time.monotonic() - began < 2


async def test_a_worker_that_slept_through_its_burial_writes_nothing_stale(
    rig, redis_url, tmp_path, started, until
):
    started.append(asleep := Process(redis_url, tmp_path / "a", beat_limit_s=2))
    await asleep.ready()
    running = await rig.submit("sleep", gate=str(rig.gate), value="x")
    await rig.becomes(running, "running")
    asleep.running.send_signal(signal.SIGSTOP)
    await until(asleep.stopped, "it sleeps")
    # Its engine does not: the answer lies there when it wakes.
    rig.gate.touch()
    started.append(awake := Process(redis_url, tmp_path / "b", beat_limit_s=2))
    await awake.ready()
    job = await rig.wait(running)
    assert job.status == "succeeded"
    adopted = await until(lambda: awake.seen("job_adopted"), "the adoption is told")
    assert job.worker == adopted[0]["worker"]
    asleep.running.send_signal(signal.SIGCONT)
    await until(lambda: len(asleep.seen("worker_registered")) > 1, "a new life")
    assert asleep.seen("worker_was_buried")
    assert (await awake.stop(), (await rig.run(value=1)).status) == (0, "succeeded")
    assert (await rig.queue.get(running.id, "default")).worker == job.worker


async def test_results_wait_for_a_redis_that_was_killed(own_rig, own_redis, tmp_path, started):
    started.append(worker := Process(own_redis.url, tmp_path))
    await worker.ready()
    running = await own_rig.submit("sleep", gate=str(own_rig.gate), value=1)
    await own_rig.becomes(running, "running")
    queued = [await own_rig.submit(value=number) for number in range(20)]
    engine = worker.seen("engine_spawned")[-1]["engine_pid"]
    own_redis.kill()
    own_rig.gate.touch()
    await asyncio.sleep(2.0)
    own_redis.start()
    job = await own_rig.wait(running)
    assert (job.status, job.attempt, job.crashes) == ("succeeded", 1, 0)
    assert {(await own_rig.wait(each)).status for each in queued} == {"succeeded"}
    assert worker.seen("engine_spawned")[-1]["engine_pid"] == engine
    assert await worker.stop() == 0


async def test_a_worker_started_before_its_redis_waits_for_it(
    own_rig, own_redis, tmp_path, started
):
    job = await own_rig.submit(value=1)
    own_redis.kill()
    started.append(worker := Process(own_redis.url, tmp_path))
    await asyncio.sleep(1.5)
    assert worker.running.poll() is None
    own_redis.start()
    assert (await own_rig.wait(job)).status == "succeeded"


async def test_a_model_that_does_not_load_is_failed_with_its_reason(
    redis_url, tmp_path, started, monkeypatch, until
):
    folder = tmp_path / "actor"
    folder.mkdir()
    (folder / "model.py").write_text("import no_such_package\n")
    monkeypatch.setattr(sys.modules[__name__], "ACTOR", folder)
    started.append(worker := Process(redis_url, tmp_path))
    await until(lambda: worker.seen("probes_served"), "it answers")

    async def failed():
        health = await worker.get("/healthz")
        return health if health.json()["state"] == "failed" else None

    health = await until(failed, "its model is not loaded")
    assert health.status_code == 503
    assert worker.seen("model_load_failed")
    assert "no_such_package" in health.json()["reason"]
    assert (await worker.get("/livez")).status_code == 200
    assert await worker.stop() == 0
