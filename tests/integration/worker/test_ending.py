"""Cancels, time limits, deaths and the orderly end, with a whole worker."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from typing import Any

import pytest

from worker.beats import NameTaken


def code_of(job: Any) -> str:
    return json.loads(job.error)["code"]


async def test_a_killed_engine_costs_its_batch_a_crash_and_nobody_an_outcome(rig):
    live = await rig.start()
    running = await rig.busy_with("sleep", gate=str(rig.gate))
    others = [await rig.submit(value=number) for number in range(20)]
    os.kill(live.engine_pid, signal.SIGKILL)
    rig.gate.touch()
    began = time.monotonic()
    job = await rig.wait(running)
    assert (job.status, job.crashes) == ("succeeded", 1)
    assert time.monotonic() - began < live.station.timing.load_s + 2.5
    ended = [await rig.wait(other) for other in others]
    assert {(other.status, other.crashes) for other in ended} == {("succeeded", 0)}
    assert live.station.metrics.engine_restarts.labels("sigkill")._value.get() == 1


async def test_a_job_that_kills_the_engine_each_time_is_poisoned_and_its_mates_are_not(rig):
    await rig.start()
    mates = [await rig.submit("sleep", seconds=0.01) for _ in range(6)]
    poison = await rig.submit("die")
    after = [await rig.submit("sleep", seconds=0.01) for _ in range(6)]
    job = await rig.wait(poison)
    assert (job.status, code_of(job), job.crashes) == ("failed", "poisoned", 3)
    for mate in mates + after:
        assert (await rig.wait(mate)).status == "succeeded"


async def test_a_job_that_dies_in_prepare_is_found_too(rig):
    await rig.start()
    jobs = [await rig.submit("sleep", seconds=0.01) for _ in range(6)]
    poison = await rig.submit("die in prepare")
    jobs += [await rig.submit("sleep", seconds=0.01) for _ in range(6)]
    job = await rig.wait(poison, 40)
    assert (job.status, code_of(job)) == ("failed", "poisoned")
    for mate in jobs:
        assert (await rig.wait(mate)).status == "succeeded"


async def test_a_queued_job_is_canceled_at_once_and_never_runs(rig):
    await rig.start()
    await rig.busy_with("sleep", gate=str(rig.gate))
    queued = await rig.submit("die")
    assert (await rig.queue.cancel(queued.id, "default")).job.status == "canceled"
    rig.gate.touch()
    assert (await rig.run(value=1)).status == "succeeded"


async def test_a_model_that_looks_sees_its_cancel(rig):
    live = await rig.start(cancel_grace_s=5)
    running = await rig.busy_with("watch", seconds=10)
    pid = live.engine_pid
    assert (await rig.queue.cancel(running.id, "default")).job.status == "canceling"
    job = await rig.wait(running, 3)
    assert (job.status, live.engine_pid) == ("canceled", pid)


async def test_a_canceled_job_that_goes_on_loses_its_engine_and_its_mates_run_again(rig):
    live = await rig.start()
    await rig.run()
    running = await rig.busy_with("sleep", seconds=20)
    queued = await rig.submit(value=1)
    pid = live.engine_pid
    await rig.queue.cancel(running.id, "default")
    job = await rig.wait(running, 8)
    assert job.status == "canceled"
    mate = await rig.wait(queued)
    assert (mate.status, mate.crashes) == ("succeeded", 0)
    assert live.engine_pid != pid


async def test_a_batch_that_soon_ends_is_let_run_after_a_cancel(rig):
    live = await rig.start()
    live.station.timing.load_s = 60.0
    running = await rig.busy_with("sleep", gate=str(rig.gate))
    pid = live.engine_pid
    await rig.queue.cancel(running.id, "default")
    # Longer than the grace.
    await asyncio.sleep(0.5)
    assert await rig.status(running) == "canceling"
    rig.gate.touch()
    assert (await rig.wait(running)).status == "canceled"
    assert live.engine_pid == pid


async def test_a_job_over_its_limit_times_out_and_the_worker_goes_on(rig):
    live = await rig.start()
    job = await rig.run("sleep", seconds=30, timeout_s=1)
    assert job.status == "timed_out"
    assert code_of(job) == "timed_out"
    assert (await rig.run(value=1)).status == "succeeded"
    assert live.station.metrics.engine_restarts.labels("timeout")._value.get() == 1


async def test_a_worker_told_to_stop_lets_its_batch_end_and_gives_the_rest_back(rig, until):
    live = await rig.start()
    await rig.run("sleep", seconds=0.3)
    running = await rig.busy_with("sleep", gate=str(rig.gate))
    waiting = [await rig.submit(value=number) for number in range(10)]
    ending = asyncio.create_task(live.stop())
    await until(lambda: live.station.quiet, "it drains")
    rig.gate.touch()
    assert await ending is True
    assert await rig.status(running) == "succeeded"
    left = [await rig.queue.get(job.id, "default") for job in waiting]
    assert {job.crashes for job in left} == {0}
    assert {str(job.status) for job in left} <= {"queued", "succeeded"}
    await rig.start()
    assert {(await rig.wait(job)).status for job in waiting} == {"succeeded"}


async def test_a_batch_too_long_for_the_drain_goes_back_uncharged(rig):
    live = await rig.start(drain_s=0.3)
    running = await rig.busy_with("sleep", seconds=30)
    began = time.monotonic()
    assert await live.stop() is True
    assert time.monotonic() - began < 5
    job = await rig.queue.get(running.id, "default")
    assert (job.status, job.crashes) == ("queued", 0)


async def test_a_second_signal_hurries(rig):
    live = await rig.start(drain_s=60)
    running = await rig.busy_with("sleep", seconds=30)
    live.worker.stop()
    await asyncio.sleep(0.3)
    assert not live.task.done()
    assert await live.stop() is True
    assert await rig.status(running) == "queued"


async def test_a_buried_worker_comes_back_under_a_new_life(rig, until):
    live = await rig.start(beat_limit_s=1)
    running = await rig.busy_with("sleep", gate=str(rig.gate))
    life = live.station.queue.life
    await rig.bury("w1")
    # Not before it knows: what it settled until then would rightly be refused as stale.
    await until(lambda: live.station.queue.life != life, "a new life")
    rig.gate.touch()
    job = await rig.wait(running)
    assert (job.status, job.crashes) == ("succeeded", 1)
    assert (await rig.run(value=2)).status == "succeeded"
    assert live.station.metrics.stale_writes_refused._value.get() == 0


async def test_two_workers_of_one_name_end_with_a_word_for_it(rig, until):
    # One that was held up for longer than the limit may be buried by anybody.
    live = await rig.start(beat_limit_s=4)
    life = live.station.queue.life
    await rig.bury("w1")
    await until(lambda: live.station.queue.life != life, "a new life")
    await rig.bury("w1")
    with pytest.RaisesGroup(NameTaken):
        await asyncio.wait_for(live.task, 30)


async def test_what_runs_of_a_job_that_was_taken_away_is_not_taken_for_its_next_run(rig, until):
    live = await rig.start(beat_limit_s=1)
    live.station.timing.load_s = 60.0  # The engine is let run out its batch: a load costs more.
    mark = rig.folder / "runs"
    held = {"file": str(mark), "gate": str(rig.gate)}
    running = await rig.busy_with("append", **held)
    mates = [await rig.submit("append", seconds=0.05, file=str(mark)) for _ in range(3)]
    pid, life = live.engine_pid, live.station.queue.life
    await rig.bury("w1")
    await until(lambda: live.station.queue.life != life, "a new life")
    rig.gate.touch()
    job = await rig.wait(running)
    assert (job.status, job.crashes, live.engine_pid) == ("succeeded", 1, pid)
    # The first run answered under a number of its own, which nobody waits for.
    assert json.loads(job.output) == {"value": 2}
    assert {(await rig.wait(mate)).status for mate in mates} == {"succeeded"}
    assert live.station.metrics.stale_writes_refused._value.get() == 0
