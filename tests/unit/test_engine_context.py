"""What an author's code is given, and how progress travels."""

import math
from pathlib import Path

import pytest

from worker.engine import context, devices
from worker.engine.batch import HeldJob
from worker.engine.context import BatchContext, LoadContext, Reporter
from worker.wire import EngineJob, Log, Progress


class Clock:
    now = 100.0


@pytest.fixture
def clock(monkeypatch):
    monkeypatch.setattr(context, "monotonic", lambda: Clock.now)
    Clock.now = 100.0
    return Clock


@pytest.fixture
def sent():
    class Sent(list):
        def send(self, *frames):
            self.extend(frames)

    return Sent()


def test_progress_goes_at_most_twice_a_second_and_the_last_one_always_goes(clock, sent):
    reporter = Reporter(sent)
    for percent in range(10):
        reporter.progress(1, percent / 10, None)
    assert sent == [Progress(1, 0.0, None)]
    assert reporter.flush(100.2) == 100.5
    assert reporter.flush(100.5) == math.inf
    assert sent[1:] == [Progress(1, 0.9, None)]
    reporter.progress(1, 1.0, "late")
    reporter.progress(2, 0.1, None)
    assert len(sent) == 3
    assert reporter.flush(100.6) == 101.0


def test_an_ended_job_makes_no_progress(clock, sent):
    reporter = Reporter(sent)
    reporter.forget([1])
    reporter.progress(1, 0.1, None)
    reporter.progress(1, 0.2, None)
    reporter.forget([1])
    assert reporter.flush(200) == math.inf
    assert len(sent) == 1


@pytest.mark.parametrize(
    ("given", "told"),
    [(0.5, 0.5), (-1, 0.0), (7, 1.0), (math.nan, None), (None, None), ("0.5", 0.5)],
)
def test_a_fraction_is_a_share(sent, given, told):
    Reporter(sent).progress(1, given, "x" * 10_000)
    assert sent[0].fraction == told
    assert len(sent[0].message) == context.TEXT_LIMIT


def test_a_batchs_jobs_know_themselves_and_their_cancel(sent):
    held = [HeldJob(EngineJob(f"job_{each}", each, b""), 0, 0) for each in range(2)]
    load = LoadContext("cpu", Path("/weights"), {"depth": 3})
    ctx = BatchContext(load, held, Reporter(sent))
    assert [each.id for each in ctx.jobs] == ["job_0", "job_1"]
    assert (ctx.device, ctx.weights, ctx.settings) == ("cpu", Path("/weights"), {"depth": 3})
    assert not ctx.jobs[1].canceled
    held[1].canceled = True
    assert ctx.jobs[1].canceled
    ctx.jobs[1].log("half \ud800")
    ctx.jobs[0].progress(0.5, "half")
    assert sent == [Log(1, "half ?"), Progress(0, 0.5, "half")]
    held[0].dropped = True
    ctx.jobs[0].progress(0.9)
    assert len(sent) == 2


def test_the_dtype_is_looked_up_when_it_is_asked_for(monkeypatch):
    monkeypatch.setattr(devices, "dtype_of", lambda device: f"dtype of {device}")
    load = LoadContext("cuda:0", Path(), {})
    assert load.dtype == "dtype of cuda:0"
    assert BatchContext(load, [], None).dtype == "dtype of cuda:0"
