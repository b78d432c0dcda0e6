"""Each end is counted by one process, whoever finds out about it and however it was told."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import replace

import pytest

from jobs.adoption import Adopted
from jobs.worker_queue import BeatAnswer
from worker.beats import Beats
from worker.cancels import Cancels
from worker.drain import Drain
from worker.holding import Phase
from worker.returning import Returner
from worker.settling import Settler
from worker.starting import Starter
from worker.wire import Formed, Item

from .waiting import until


async def verified() -> list[str]:
    return []


def ends(station):
    """What was counted as finished, by status and code."""
    [family] = station.metrics.jobs_finished.collect()
    counted = Counter()
    for sample in family.samples:
        if sample.name.endswith("_total") and sample.value:
            counted[sample.labels["status"], sample.labels["code"]] += sample.value
    return counted


async def run_until(check, run):
    task = asyncio.create_task(run)
    await until(check)
    task.cancel()
    await asyncio.wait({task})


@pytest.mark.parametrize(
    ("phase", "verdict", "counted"),
    [
        (Phase.ON_GPU, "canceled", {("canceled", "canceled"): 1}),
        # The cancel ended it, and whoever canceled has counted it.
        (Phase.FED, "canceled", {}),
        (Phase.FED, "ok", {("failed", "invalid_input"): 1}),
        (Phase.ON_GPU, "already", {("failed", "invalid_input"): 1}),
        (Phase.ON_GPU, "stale", {}),
    ],
)
async def test_an_outcome(station, hold, phase, verdict, counted):
    held = hold("job_1", phase)
    station.queue.verdicts["job_1"] = verdict
    settler = Settler(station)
    settler.ended([Item(held.feed, None, {"code": "invalid_input"}, 0.0)])
    await run_until(lambda: not station.holding.jobs, settler.delivery.run())
    assert ends(station) == counted


async def test_a_suspect_that_is_canceled_as_it_starts(station, hold):
    held = hold("job_1", Phase.STARTING)
    held.job = replace(held.job, started=True)
    station.queue.verdicts["job_1"] = "canceled"
    settler = Settler(station)
    settler.gave_up([held])
    await run_until(lambda: not station.holding.jobs, settler.delivery.run())
    assert ends(station) == {("canceled", "canceled"): 1}


async def test_jobs_that_the_burial_of_an_earlier_life_ended(station):
    async def register(info):
        station.queue._called("register", info)
        rows = [("a", "ok"), ("b", "canceled"), ("c", "poisoned")]
        return [Adopted("w:0", job, "running", verdict, "m", "1") for job, verdict in rows]

    station.queue.register = register
    beats = Beats(station, Cancels(station, Settler(station)), verified)
    await run_until(lambda: station.queue.asked("beat"), beats.run())
    assert ends(station) == {("canceled", "canceled"): 1, ("failed", "poisoned"): 1}
    assert station.metrics.requeues.labels("worker_lost")._value.get() == 1


async def test_a_claim_whose_answer_was_lost_and_that_was_canceled_meanwhile(station):
    station.registered = True
    station.queue.answer = BeatAnswer(owned_not_held=[("a", "t"), ("b", "t")])
    station.queue.verdicts["a"] = "canceled"
    beats = Beats(station, Cancels(station, Settler(station)), verified)
    await run_until(lambda: station.queue.asked("hand_back"), beats.run())
    assert ends(station) == {("canceled", "canceled"): 1}
    assert station.metrics.requeues.labels("lost_answer")._value.get() == 1


async def test_a_deadline_found_at_the_start_although_the_engine_has_died_meanwhile(station, hold):
    held = hold("a", Phase.FED)
    station.queue.verdicts["a"] = "expired"
    station.queue.open.clear()
    settler, returner = Settler(station), Returner(station)
    starter = Starter(station, returner, Cancels(station, settler))
    starter.formed(Formed(1, [held.feed]))
    task = asyncio.create_task(starter.run())
    await until(lambda: station.queue.asked("start"))
    station.engine.life += 1
    station.queue.open.set()
    await until(lambda: ends(station))
    task.cancel()
    await asyncio.wait({task})
    assert ends(station) == {("expired", "expired"): 1}


async def test_what_the_last_step_of_a_drain_ended(station):
    async def leave():
        return 2

    station.queue.leave = leave
    settler, returner = Settler(station), Returner(station)
    assert await Drain(station, settler, returner)._leave(station.clock() + 5)
    assert ends(station) == {("canceled", "canceled"): 2}


def test_what_is_known_ahead_begins_at_nothing(station):
    for family in (station.metrics.oom, station.metrics.engine_restarts, station.metrics.requeues):
        values = [each.value for each in family.collect()[0].samples if "_total" in each.name]
        assert values
        assert set(values) == {0}
