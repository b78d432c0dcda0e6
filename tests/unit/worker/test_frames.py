"""What the feeder does with the engine's frames, with starts, and with what a beat answers."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

import pytest

from jobs.worker_queue import BeatAnswer
from worker.answers import Answers
from worker.beats import Beats
from worker.cancels import Cancels
from worker.drain import Drain
from worker.holding import Phase
from worker.progress import ProgressReporter
from worker.returning import Returner
from worker.settling import Settler
from worker.starting import Starter
from worker.watchdog import Watchdog
from worker.wire import (
    Began,
    Cancel,
    Done,
    Drop,
    Formed,
    Go,
    Item,
    Log,
    Memory,
    ProbeOk,
    Progress,
    Refused,
    SafeSize,
)

from .waiting import turns, until


class Parts:
    """The feeder's parts on one station, running."""

    def __init__(self, station):
        self.settler, self.returner = Settler(station), Returner(station)
        self.cancels = Cancels(station, self.settler)
        self.starter = Starter(station, self.returner, self.cancels)
        self.progress = ProgressReporter(station)
        self.answers = Answers(
            station, self.starter, self.settler, self.returner, self.progress, publisher=None
        )
        self.drain = Drain(station, self.settler, self.returner)

        async def verified() -> list[str]:
            return ["cannot be verified"]

        self.beats = Beats(station, self.cancels, verified)

    @contextlib.asynccontextmanager
    async def running(self):
        runs = (
            self.starter.run,
            self.settler.delivery.run,
            self.returner.delivery.run,
            self.progress.run,
        )
        tasks = [asyncio.create_task(run()) for run in runs]
        yield self
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)

    async def settled(self):
        await turns()
        await self.settler.delivery.emptied()
        await self.returner.delivery.emptied()


@pytest.fixture
async def parts(station) -> AsyncIterator[Parts]:
    async with Parts(station).running() as parts:
        yield parts


async def test_a_formed_batch_may_run_once_redis_says_that_it_runs(station, parts, hold):
    hold("a", Phase.FED)
    hold("b", Phase.FED)
    parts.answers.heard([Formed(7, [1, 2, 99])])
    await parts.settled()
    assert station.queue.asked("start") == [["a", "b"]]
    assert station.engine.sent == [Go(7, [1, 2])]
    parts.answers.heard([Began(7, [1, 2])])
    assert station.holding.on_gpu.feeds == [1, 2]
    items = [Item(1, b"1", None, 0.1), Item(2, b"2", None, 0.1)]
    parts.answers.heard([Done(7, items, 2, 0.1, True)])
    await parts.settled()
    assert station.queue.asked("settle") == [[("a", "succeeded"), ("b", "succeeded")]]
    assert not station.holding.jobs
    assert station.holding.on_gpu is None
    assert station.timing.expected_s(2) == 0.1


@pytest.mark.parametrize("verdict", ["canceled", "expired", "lost"])
async def test_what_may_not_start_is_left_out_and_forgotten(station, parts, hold, verdict):
    hold("a", Phase.FED)
    hold("b", Phase.FED)
    station.queue.verdicts["a"] = verdict
    parts.answers.heard([Formed(1, [1, 2])])
    await parts.settled()
    assert station.engine.sent == [Go(1, [2])]
    assert list(station.holding.jobs) == ["b"]


async def test_a_batch_waits_for_a_redis_that_is_away(station, parts, hold):
    hold("a", Phase.FED)
    station.queue.away = 1_000_000
    parts.answers.heard([Formed(1, [1])])
    # It has been asked again, and that was in vain too.
    await until(lambda: station.queue.away <= 1_000_000 - 2)
    assert station.engine.sent == []
    station.queue.away = 0
    await until(lambda: station.engine.sent)
    assert station.engine.sent == [Go(1, [1])]


async def test_a_start_that_outlives_its_engine_allows_nothing(station, parts, hold):
    hold("a", Phase.FED)
    station.queue.open.clear()
    parts.answers.heard([Formed(1, [1])])
    await until(lambda: station.queue.asked("start"))
    station.engine.life = 2
    station.queue.open.set()
    await parts.settled()
    assert station.engine.sent == []


async def test_a_start_is_not_repeated_for_an_engine_that_has_died(station, parts, hold):
    hold("a", Phase.FED)
    station.queue.away = 1_000_000
    parts.answers.heard([Formed(1, [1])])
    await until(lambda: station.queue.away < 1_000_000)
    station.engine.life = 2
    station.queue.away = 0
    # By now it would have been: its first pause is 0.02 s.
    await asyncio.sleep(0.1)
    assert (station.queue.asked("start"), station.engine.sent) == ([], [])


async def test_a_job_canceled_while_it_starts_never_reaches_the_gpu(station, parts, hold):
    hold("a", Phase.FED)
    station.queue.open.clear()
    parts.answers.heard([Formed(1, [1])])
    await until(lambda: station.queue.asked("start"))
    parts.cancels.asked(["a"])
    station.queue.open.set()
    await parts.settled()
    assert station.queue.asked("settle") == [[("a", "canceled")]]
    assert station.engine.sent == [Cancel([1]), Go(1, [])]


async def test_a_quiet_worker_starts_nothing_and_gives_it_back(station, parts, hold):
    hold("a", Phase.FED)
    station.quiet = True
    parts.answers.heard([Formed(1, [1])])
    await parts.settled()
    assert station.engine.sent == [Go(1, [])]
    assert station.queue.asked("hand_back") == [[("a", False)]]


async def test_a_refused_job_fails_without_a_start(station, parts, hold):
    hold("a", Phase.FED)
    station.careful = 1
    parts.answers.heard([Refused(1, {"code": "invalid_input", "detail": "no"})])
    await parts.settled()
    assert station.queue.asked("settle") == [[("a", "failed")]]
    assert station.careful == 0


async def test_stale_answers_are_counted_and_let_go(station, parts, run, hold):
    run("a")
    back = hold("b", Phase.FED)
    station.queue.verdicts = {"a": "stale", "b": "stale"}
    parts.settler.ended([Item(1, b"1", None, 0.0), Item(99, b"1", None, 0.0)])
    parts.returner.uncharged([back], "drain")
    await parts.settled()
    assert station.metrics.stale_writes_refused._value.get() == 2
    assert not station.holding.jobs


async def test_a_hand_back_that_convicts_is_told(station, parts, run):
    run("a")
    station.queue.verdicts = {"a": "poisoned"}
    parts.returner.uncharged(list(station.holding.jobs.values()), "sigkill")
    await parts.settled()
    finished = station.metrics.jobs_finished.labels("m", "1", "failed", "poisoned")
    assert finished._value.get() == 1


async def test_only_the_newest_progress_is_told(station, parts, run):
    run("a")
    parts.answers.heard([Progress(1, n / 10, None) for n in range(5)])
    parts.answers.heard([Progress(99, 0.5, None)])
    await turns()
    assert station.queue.asked("progress") == [[("a", "t", b'{"fraction":0.4,"message":null}')]]


async def test_progress_is_lost_rather_than_repeated(station, parts, run):
    run("a")
    station.queue.away = 1
    parts.answers.heard([Progress(1, 0.1, "x")])
    await turns()
    assert station.queue.away == 0
    # By then it would have been: what is newer may be told.
    parts.answers.heard([Progress(1, 0.2, "y")])
    await until(lambda: station.queue.asked("progress"))
    assert station.queue.asked("progress") == [[("a", "t", b'{"fraction":0.2,"message":"y"}')]]


async def test_sizes_memory_and_probes_are_kept(station, parts, clock):
    clock.now += 10
    parts.answers.heard([SafeSize("128", 8), Memory(10, 20, True), ProbeOk(3), Log(1, "text")])
    assert station.learned.safe_sizes == {"128": 8}
    assert station.metrics.oom.labels("m")._value.get() == 1
    assert station.metrics.gpu_memory_bytes.labels("m", "reserved")._value.get() == 20
    assert (station.probe_answered, station.kernel_ran_at) == (3, clock.now)


async def one_beat(beats):
    task = asyncio.create_task(beats.run())
    await turns()
    task.cancel()
    await asyncio.wait({task})


async def test_a_beat_names_what_is_held_and_puts_differences_right(station, parts, run, hold):
    run("running")
    hold("stolen", Phase.FED)
    station.queue.answer = BeatAnswer(
        owned_not_held=[("forgotten", "t9")], canceling=["running"], lost=["stolen"]
    )
    await one_beat(parts.beats)
    assert station.queue.asked("beat") == [(["running", "stolen"], "ready")]
    assert station.queue.asked("hand_back") == [[("forgotten", False)]]
    assert station.engine.sent[0] == Cancel([1])
    assert station.engine.sent[1] == Drop([2])
    assert station.holding.jobs["running"].canceled
    assert "stolen" not in station.holding.jobs


async def test_a_beat_is_repeated_soon_while_redis_is_away(station, parts):
    station.queue.away = 3
    task = asyncio.create_task(parts.beats.run())
    async with asyncio.timeout(5):
        # Beats are 2 s apart: three of them would take longer.
        await until(lambda: station.queue.asked("beat"))
    task.cancel()
    await asyncio.wait({task})
    assert len(station.queue.asked("beat")) == 1
    assert len(station.queue.asked("register")) == 1


@pytest.mark.parametrize("dear", [False, True])
async def test_a_buried_worker_frees_the_gpu_when_a_load_is_cheaper(
    station, parts, run, hold, clock, dear
):
    run("running", expected_s=10.0)
    hold("fed", Phase.FED)
    station.timing.load_s = 0.1 if dear else 60.0
    clock.now += 5
    station.queue.answer = BeatAnswer(buried=True)
    await one_beat(parts.beats)
    assert not station.holding.jobs
    assert station.engine.sent == [Drop([2]), Cancel([1])]
    Watchdog(station).look()
    assert station.engine.kills == (["buried"] if dear else [])


async def test_results_that_cannot_be_stored_are_given_up_in_the_end(
    station, parts, run, monkeypatch
):
    monkeypatch.setattr("worker.drain.LEAST_SETTLE_S", 0.2)
    station.rules = type(station.rules)(
        max_attempts=3, max_result_bytes=9, cancel_grace_s=1, beat_limit_s=10, drain_s=0
    )
    run("a")
    station.queue.away = 1_000_000
    parts.settler.ended([Item(1, b"1", None, 0.0)])
    station.engine.stop = lambda _: asyncio.sleep(0)
    assert await asyncio.wait_for(parts.drain.run(), 5) is False
