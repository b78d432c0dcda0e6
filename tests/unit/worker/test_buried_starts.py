"""A start that is answered after the worker let go of its job."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from jobs.errors import QueueUnavailable
from jobs.worker_queue import BeatAnswer
from worker.beats import Beats
from worker.cancels import Cancels
from worker.feeder import Feeder
from worker.holding import Phase
from worker.returning import Returner
from worker.settling import Settler
from worker.starting import Starter
from worker.wire import Cancel, Drop, Formed, Go, Jobs

from .waiting import until


class Starts:
    """Start calls that are answered when the test says so."""

    def __init__(self, station):
        self.asked = asyncio.Event()
        self.answer: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        station.queue.start = self

    async def __call__(self, jobs):
        self.asked.set()
        if not await self.answer:
            raise QueueUnavailable("no answer")
        return {job.id: "ok" for job in jobs}


async def buried(station, cancels):
    """One beat, which hears that this life is buried."""

    async def verified() -> list[str]:
        return []

    station.registered = True
    station.queue.answer = BeatAnswer(buried=True)
    task = asyncio.create_task(Beats(station, cancels, verified).run())
    await until(lambda: station.queue.asked("register"))
    task.cancel()
    await asyncio.wait({task})


async def lost(station, cancels):
    """A beat hears that another worker has the job."""
    cancels.lost(["a"])


async def ended(task):
    task.cancel()
    await asyncio.wait({task})


@pytest.mark.parametrize("let_go", [buried, lost])
@pytest.mark.parametrize("answered", [True, False])
async def test_a_suspect_let_go_while_it_starts_leaves_no_count_behind(
    station, hold, let_go, answered
):
    cancels = Cancels(station, Settler(station))
    feeder = Feeder(station, cancels, Returner(station))
    starts = Starts(station)
    suspect = hold("a", Phase.ASIDE)
    suspect.job = replace(suspect.job, crashes=1)
    feeding = asyncio.create_task(feeder._feed_suspect())
    await starts.asked.wait()
    assert suspect.phase is Phase.STARTING
    await let_go(station, cancels)
    starts.answer.set_result(answered)
    await asyncio.wait_for(feeding, 5)
    assert not any(station.holding.counts)
    assert station.holding.bytes == 0
    assert not any(isinstance(frame, Jobs) for frame in station.engine.sent)
    station.registered = True
    assert feeder._plan().count > 0


@pytest.mark.parametrize("let_go", [buried, lost])
async def test_a_batch_let_go_while_it_starts_leaves_no_count_behind(station, hold, let_go):
    cancels = Cancels(station, Settler(station))
    starter = Starter(station, Returner(station), cancels)
    starts = Starts(station)
    hold("a", Phase.FED)
    running = asyncio.create_task(starter.run())
    starter.formed(Formed(1, [1]))
    await starts.asked.wait()
    await let_go(station, cancels)
    starts.answer.set_result(True)
    await until(lambda: any(isinstance(frame, Go) for frame in station.engine.sent))
    await ended(running)
    assert Go(1, []) in station.engine.sent
    assert not any(station.holding.counts)
    assert not station.holding.batches


@pytest.mark.parametrize(
    ("phase", "told"), [(Phase.STARTED, Cancel([1])), (Phase.STARTING, Drop([1]))]
)
async def test_what_was_let_go_is_told_by_how_far_it_had_come(station, hold, phase, told):
    cancels = Cancels(station, Settler(station))
    hold("a", phase)
    cancels.lost(["a"])
    assert told in station.engine.sent


async def test_what_is_let_go_is_neither_moved_nor_grown_nor_handed_back(station, hold):
    held = hold("a", Phase.STARTING)
    station.holding.forget(held)
    station.holding.move(held, Phase.STARTED)
    station.holding.grow(held, 10)
    returner = Returner(station)
    returner.uncharged([held], "engine_gone")
    assert (held.phase, station.holding.bytes) == (Phase.GONE, 0)
    assert not any(station.holding.counts)
    await asyncio.wait_for(returner.delivery.emptied(), 1)
