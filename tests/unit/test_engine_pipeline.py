"""When batches are asked for, and what becomes of the answer."""

import pytest

from worker.engine.batch import HeldJob
from worker.engine.batcher import NEVER, Batcher
from worker.engine.memory import SafeSizes
from worker.engine.pipeline import MOST_AHEAD, Pipeline
from worker.engine.timing import BatchTime
from worker.wire import EngineJob, Formed


class Line:
    """A pipeline, what it asked and what it launched."""

    def __init__(self, max_batch=1, seconds=1.0, known=10):
        self.asked, self.launched = [], []
        self.time = BatchTime()
        for _ in range(known):
            self.time.learn(1, seconds)
        batcher = Batcher(SafeSizes({}, max_batch), self.time, max_batch=max_batch)
        self.pipeline = Pipeline(batcher, self.time, self, self.launched.append)

    def send(self, *frames):
        assert all(isinstance(each, Formed) for each in frames)
        self.asked += frames

    def add(self, *names, **options):
        for each in names:
            self.pipeline.batcher.add(HeldJob(EngineJob(each, ord(each), b"", **options), 0.0, 0.0))

    def step(self, now=0.0):
        return self.pipeline.step(now, expecting=False)

    def begin(self, place, now):
        self.launched[place].began_at = now


def feeds(names):
    return [ord(each) for each in names]


def test_an_idle_device_gets_a_single_job_at_once():
    line = Line(max_batch=8)
    assert line.step() == NEVER
    line.add("a")
    line.step()
    assert [each.feeds for each in line.asked] == [feeds("a")]
    assert not line.launched
    assert line.pipeline.go(1, feeds("a"), 0.001) == []
    assert [each.feeds for each in line.launched] == [feeds("a")]
    assert line.pipeline.is_flying(line.launched[0].jobs[0])


def test_the_next_batch_is_asked_for_shortly_before_the_device_is_free():
    line = Line()
    line.add("a", "b")
    line.step()
    line.pipeline.go(1, feeds("a"), 0.001)
    line.begin(0, 0.01)
    again = line.step(0.02)
    assert len(line.asked) == 1
    assert 0.85 < again < 1.01
    line.step(again)
    assert [each.feeds for each in line.asked] == [feeds("a"), feeds("b")]


def test_behind_a_batch_that_overran_nothing_is_started_until_it_ends():
    line = Line()
    line.add("a", "b")
    line.step()
    line.pipeline.go(1, feeds("a"), 0.001)
    line.begin(0, 0.01)
    assert line.step(50.0) == NEVER
    assert len(line.asked) == 1
    line.pipeline.ended(line.launched[0], 50.0)
    line.step(50.1)
    assert [each.feeds for each in line.asked] == [feeds("a"), feeds("b")]


def test_while_batches_surprise_none_is_started_behind_another():
    line = Line(seconds=0.005, known=1)
    line.add("a", "b", "c")
    line.step()
    line.step()
    assert [each.feeds for each in line.asked] == [feeds("a")]
    line.pipeline.go(1, feeds("a"), 0.001)
    line.begin(0, 0.01)
    line.step(0.0149)
    assert len(line.asked) == 1
    line.pipeline.ended(line.launched[0], 2.5)
    assert not line.time.trusted


def test_short_full_batches_are_asked_for_one_ahead_and_part_full_ones_wait():
    line = Line(max_batch=2, seconds=0.0001)
    line.add(*"abcde")
    line.step()
    assert [each.feeds for each in line.asked] == [feeds("ab"), feeds("cd")]
    line.add(*(chr(each) for each in range(200, 240)))
    line.step()
    assert len(line.asked) == MOST_AHEAD
    line.pipeline.go(1, feeds("ab"), 0.001)
    line.pipeline.ended(line.launched[0], 0.0001)
    line.step(0.002)
    assert len(line.asked) == MOST_AHEAD + 1


def test_what_may_not_run_is_forgotten():
    line = Line(max_batch=3)
    line.add("a", "b", "c")
    line.step()
    line.pipeline.batcher.add(HeldJob(EngineJob("d", ord("d"), b""), 0.0, 0.0))
    dropped = line.pipeline.go(1, feeds("b"), 0.1)
    assert [each.id for each in dropped] == ["a", "c"]
    [batch] = line.launched
    assert (batch.feeds, batch.left) == (feeds("b"), 1)
    line.begin(0, 0.1)
    line.step(1.1)
    assert line.pipeline.go(2, [], 0.2)[0].id == "d"
    assert len(line.launched) == 1
    assert line.pipeline.go(99, feeds("x"), 0.2) == []


def test_started_jobs_skip_the_question():
    line = Line(max_batch=2)
    jobs = [HeldJob(EngineJob(each, ord(each), b"", started=True), 0.0, 0.0) for each in "abc"]
    line.pipeline.run_started(jobs)
    assert [each.feeds for each in line.launched] == [feeds("ab"), feeds("c")]
    assert not line.asked


@pytest.mark.parametrize(("seconds", "learned"), [(3.0, True), (None, False)])
def test_an_ended_batch_leaves_and_teaches_its_time(seconds, learned):
    line = Line()
    line.pipeline.run_started([HeldJob(EngineJob("a", ord("a"), b""), 0.0, 0.0)])
    assert line.pipeline.flying
    line.pipeline.ended(line.launched[0], seconds)
    assert not line.pipeline.flying
    assert (line.time.estimate(1) > 1.0) == learned


def test_what_is_not_started_can_be_taken_back():
    line = Line()
    line.add("a", "b")
    line.step()
    line.pipeline.forget_unstarted()
    assert line.pipeline.go(1, feeds("a"), 0.1) == []
    assert line.step() == NEVER
