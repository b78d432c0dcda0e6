"""Of several over their limit on one clock, none can be told to be the one that hung."""

from __future__ import annotations

import asyncio

import pytest

from worker.aftermath import Death
from worker.answers import Answers
from worker.cancels import Cancels
from worker.holding import Phase
from worker.progress import ProgressReporter
from worker.returning import Returner
from worker.settling import Settler
from worker.starting import Starter
from worker.wire import Began, Done, Formed, Item

from .waiting import turns

CANCELED = {"code": "canceled", "detail": "", "retryable": True}


class Hearing:
    """Hears the engine, and waits until Redis has what follows from it."""

    def __init__(self, station):
        self.settler, self.returner = Settler(station), Returner(station)
        self.starter = Starter(station, self.returner, Cancels(station, self.settler))
        progress = ProgressReporter(station)
        self.answers = Answers(
            station, self.starter, self.settler, self.returner, progress, publisher=None
        )

    async def heard(self, *frames):
        self.answers.heard(list(frames))
        await turns()
        await self.settler.delivery.emptied()
        await self.returner.delivery.emptied()


@pytest.fixture
async def hearing(station):
    hearing = Hearing(station)
    runs = (hearing.starter.run, hearing.settler.delivery.run, hearing.returner.delivery.run)
    tasks = [asyncio.create_task(run()) for run in runs]
    yield hearing
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)


@pytest.mark.parametrize("pieces", [False, True])
async def test_over_its_limit_in_a_crowd_a_job_s_result_counts_and_none_runs_it_alone(
    station, hearing, run, pieces
):
    run("a", "b")
    for held in station.holding.jobs.values():
        held.timed_out = True
    items = [Item(1, b"1", None, 9.0), Item(2, None, CANCELED, 9.0)]
    if pieces:
        # The batch failed and is run one by one; the second was told to end before it ran.
        await hearing.heard(Done(1, items[:1], 1, 9.0, False))
        await hearing.heard(Done(1, items[1:], 1, 0.0, True))
    else:
        await hearing.heard(Done(1, items, 2, 9.0, True))
    assert station.queue.asked("settle") == [[("a", "succeeded")]]
    assert station.queue.asked("hand_back") == [[("b", True)]]


async def test_the_one_that_is_killed_in_a_batch_run_one_by_one_runs_alone_next(
    station, hearing, run
):
    run("a", "b")
    await hearing.heard(Done(1, [Item(1, b"1", None, 9.0)], 1, 9.0, False))
    station.holding.jobs["b"].timed_out = True
    hearing.answers.died(Death("timeout", ordered=True, exit_code=-9, served=True))
    await hearing.heard()
    assert station.queue.asked("settle") == [[("a", "succeeded")]]
    assert station.queue.asked("hand_back") == [[("b", True)]]


@pytest.mark.parametrize("output", [b"1", None])
async def test_over_its_limit_in_a_batch_of_its_own_a_job_has_timed_out(
    station, hearing, hold, output
):
    hold("a", Phase.STARTED)
    await hearing.heard(Began(1, [1]))
    station.holding.jobs["a"].timed_out = True
    item = Item(1, output, None if output else CANCELED, 9.0)
    await hearing.heard(Done(1, [item], 1, 9.0, True))
    assert station.queue.asked("settle") == [[("a", "timed_out")]]


async def test_those_that_did_not_begin_with_it_are_no_crowd(station, hearing, hold):
    hold("a", Phase.FED)
    hold("b", Phase.FED)
    station.queue.verdicts["b"] = "canceled"
    await hearing.heard(Formed(1, [1, 2]))
    await hearing.heard(Began(1, [1]))
    station.holding.jobs["a"].timed_out = True
    station.queue.verdicts.clear()
    await hearing.heard(Done(1, [Item(1, b"1", None, 9.0)], 1, 9.0, True))
    assert station.queue.asked("settle") == [[("a", "timed_out")]]
