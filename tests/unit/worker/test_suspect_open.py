"""What became of a job that ran alone stands in Redis before anything else begins."""

from __future__ import annotations

from dataclasses import replace

import pytest

from worker.cancels import Cancels
from worker.feeder import Feeder
from worker.holding import Phase
from worker.returning import Returner
from worker.settling import Settler
from worker.wire import Jobs


@pytest.fixture
def feeder(station):
    station.registered = True
    return Feeder(station, Cancels(station, Settler(station)), Returner(station))


async def fed_alone(station, hold, feeder):
    suspect = hold("a", Phase.ASIDE)
    suspect.job = replace(suspect.job, crashes=1)
    await feeder._feed_suspect()
    assert suspect.phase is Phase.STARTED
    return suspect


@pytest.mark.parametrize("leaving", [Phase.SETTLING, Phase.RETURNING])
async def test_nothing_is_claimed_before_its_end_is_recorded(station, hold, feeder, leaving):
    suspect = await fed_alone(station, hold, feeder)
    station.holding.move(suspect, leaving)
    assert feeder._plan().count == 0
    station.holding.forget(suspect)
    assert feeder._plan().count > 0


async def test_no_other_suspect_begins_before_either(station, hold, feeder):
    suspect = await fed_alone(station, hold, feeder)
    station.holding.move(suspect, Phase.SETTLING)
    other = hold("b", Phase.ASIDE)
    other.job = replace(other.job, crashes=1)
    await feeder._feed_suspect()
    assert other.phase is Phase.ASIDE
    station.holding.forget(suspect)
    await feeder._feed_suspect()
    assert other.phase is Phase.STARTED
    assert sum(isinstance(frame, Jobs) for frame in station.engine.sent) == 2
