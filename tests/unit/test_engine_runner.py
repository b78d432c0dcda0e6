"""The fate of each job of a batch that failed."""

import types

import pytest

from model_store.limits import Limits
from model_store.model import Members
from worker.engine import devices
from worker.engine.batch import Batch, HeldJob
from worker.engine.context import LoadContext, Reporter
from worker.engine.faults import DeviceLost, JobCanceled, NeverFits, WrongCount
from worker.engine.memory import SafeSizes
from worker.engine.runner import Runner
from worker.wire import Began, EngineJob, Memory, ProbeOk, SafeSize


class OutOfMemoryError(RuntimeError):
    """As torch calls its own."""


class Sent:
    def __init__(self):
        self.frames = []

    def send(self, *frames):
        self.frames += frames

    def of(self, kind):
        return [each for each in self.frames if isinstance(each, kind)]


class Bench:
    """A runner, what it sent, what it finished, and the sizes of the batches it tried."""

    def __init__(self, predict, *, cost=None, max_batch=8):
        self.sent, self.tried, self.results = Sent(), [], {}
        self.sizes = SafeSizes({}, max_batch)

        def counted(batch, ctx):
            self.tried.append(len(batch))
            return predict(batch, ctx)

        members = Members(load=lambda ctx: None, predict=counted, cost=cost)
        model = types.SimpleNamespace(members=members, limits=Limits(max_batch=max_batch))
        context = LoadContext("cpu", None, {})
        self.runner = Runner(model, context, self.sent, Reporter(self.sent), self.sizes)

    def run(self, values, shape=1.0):
        jobs = [HeldJob(EngineJob(f"job_{each}", each, b""), 0, 0) for each in range(len(values))]
        for job, value in zip(jobs, values, strict=True):
            job.prepared, job.shape, job.cost = value, shape, shape
        self.batch = Batch(1, jobs, 0)
        return self.run_batch()

    def run_batch(self):
        def finish(batch, jobs, results, run_s):
            assert batch is self.batch
            self.results.update(
                {each.id: result for each, result in zip(jobs, results, strict=True)}
            )

        self.seconds = self.runner.run(self.batch, finish)
        assert len(self.results) == len(self.batch.jobs)
        return [self.results[each] for each in [each.id for each in self.batch.jobs]]


def double(batch, ctx):
    return [2 * each for each in batch]


def refusing(bad, error):
    def predict(batch, ctx):
        if bad in batch:
            raise error
        return double(batch, ctx)

    return predict


def fitting(most):
    def predict(batch, ctx):
        if len(batch) > most:
            raise OutOfMemoryError("CUDA out of memory")
        return double(batch, ctx)

    return predict


def test_a_good_batch_runs_once_and_tells_when_it_begins():
    bench = Bench(double)
    assert bench.run([1, 2, 3]) == [2, 4, 6]
    assert bench.tried == [3]
    assert bench.sent.frames == [Began(1, [0, 1, 2])]
    assert bench.seconds > 0


def test_an_exception_of_the_whole_batch_hurts_the_culprit_alone():
    bench = Bench(refusing(2, ValueError("two")))
    assert [str(each) for each in bench.run([1, 2, 3])] == ["2", "two", "6"]
    assert bench.tried == [3, 1, 1, 1]
    assert bench.seconds is None


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt()])
def test_the_model_cannot_end_the_engine(error):
    assert Bench(refusing(2, error)).run([1, 2]) == [2, error]


def test_exceptions_in_the_list_are_results():
    wrong = ValueError("this one")
    bench = Bench(lambda batch, ctx: [wrong if each == 2 else each for each in batch])
    assert bench.run([1, 2, 3]) == [1, wrong, 3]
    assert bench.tried == [3]


@pytest.mark.parametrize("returned", [[1], None, "ab", {1: 2, 3: 4}, b"ab", 7])
def test_a_wrong_count_is_tried_one_by_one(returned):
    bench = Bench(lambda batch, ctx: returned if len(batch) == 2 else batch)
    assert bench.run([1, 2]) == [1, 2]
    assert bench.tried == [2, 1, 1]


def test_a_wrong_count_of_a_single_job_is_its_own():
    [found] = Bench(lambda batch, ctx: None).run([1])
    assert isinstance(found, WrongCount)
    assert "has to return a list" in str(found)
    [found] = Bench(lambda batch, ctx: [1, 2]).run([1])
    assert "2 results for 1 items" in str(found)


def test_rows_of_an_array_and_tuples_are_results():
    numpy = pytest.importorskip("numpy")
    assert Bench(lambda batch, ctx: tuple(batch)).run([1, 2]) == [1, 2]
    rows = Bench(lambda batch, ctx: numpy.eye(2)).run([1, 2])
    assert [each.tolist() for each in rows] == [[1, 0], [0, 1]]


def test_a_generator_runs_to_its_end_and_its_list_counts():
    def predict(batch, ctx):
        for step in range(3):
            yield {0: step}
        return double(batch, ctx)

    assert Bench(predict).run([1, 2]) == [2, 4]


def test_a_generator_that_fails_midway_hurts_the_culprit_alone():
    def predict(batch, ctx):
        yield {0: "first"}
        if 2 in batch:
            raise ValueError("two")
        return batch

    assert [str(each) for each in Bench(predict).run([1, 2])] == ["1", "two"]


def test_out_of_memory_halves_the_batch_and_finishes_the_same_jobs():
    bench = Bench(fitting(2))
    assert bench.run(range(8), shape=100) == [2 * each for each in range(8)]
    assert bench.tried == [8, 4, 2, 2, 4, 2, 2]
    assert bench.sent.of(SafeSize) == [SafeSize("128", 4), SafeSize("128", 2), SafeSize("128", 2)]
    assert [each.oom for each in bench.sent.of(Memory)] == [True] * 3
    assert bench.sizes.limit(100) == 2
    assert bench.sizes.limit(50) == 8


def test_a_job_that_never_fits_is_too_large_and_its_mates_are_not():
    def predict(batch, ctx):
        if 3 in batch:
            raise OutOfMemoryError("CUDA out of memory")
        return batch

    bench = Bench(predict)
    *mates, large = bench.run([1, 2, 4, 3])
    assert mates == [1, 2, 4]
    assert isinstance(large, NeverFits)


def test_memory_that_was_only_taken_for_a_moment_is_tried_again():
    tries = []

    def predict(batch, ctx):
        tries.append(1)
        if len(tries) == 1:
            raise OutOfMemoryError("CUDA out of memory")
        return batch

    assert Bench(predict).run([1]) == [1]


def test_where_a_larger_one_has_fitted_another_try_may_help():
    full = []

    def predict(batch, ctx):
        if full:
            raise OutOfMemoryError("CUDA out of memory")
        return batch

    bench = Bench(predict, cost=lambda prepared: 1)
    bench.run([1], shape=100)
    full.append(True)
    assert isinstance(bench.run([1], shape=50)[0], OutOfMemoryError)
    assert isinstance(bench.run([1], shape=200)[0], NeverFits)


def test_a_failed_batchs_tensors_are_let_go_before_the_next_try():
    class Tensor:
        pass

    import weakref

    seen = []

    def predict(batch, ctx):
        assert all(each() is None for each in seen)
        held = Tensor()
        seen.append(weakref.ref(held))
        if len(batch) > 1:
            raise OutOfMemoryError("CUDA out of memory")
        return batch

    assert Bench(predict).run([1, 2]) == [1, 2]


def test_a_lost_device_ends_it_all():
    with pytest.raises(DeviceLost, match="illegal memory"):
        Bench(refusing(1, RuntimeError("CUDA error: an illegal memory access"))).run([1, 2])


def test_a_canceled_job_does_not_run():
    bench = Bench(double)
    bench.batch = Batch(1, [HeldJob(EngineJob(f"job_{i}", i, b""), 0, 0, i) for i in (1, 2)], 0)
    bench.batch.jobs[0].canceled = True
    gone, ran = bench.run_batch()
    assert isinstance(gone, JobCanceled)
    assert (ran, bench.tried, bench.seconds) == (4, [1], None)


def test_a_job_canceled_before_its_second_try_is_left_out():
    def predict(batch, ctx):
        if len(batch) > 1:
            bench.batch.jobs[1].canceled = True
            raise ValueError("whole")
        return batch

    bench = Bench(predict)
    assert isinstance(bench.run([1, 2])[1], JobCanceled)
    assert bench.tried == [2, 1]


def test_a_probe_is_answered_and_a_full_memory_is_no_dead_device(monkeypatch):
    bench = Bench(double)
    bench.runner.probe(7)
    errors = iter([RuntimeError("MPS backend out of memory"), RuntimeError("CUDA error: dead")])

    def broken(device):
        raise next(errors)

    monkeypatch.setattr(devices, "run_probe", broken)
    bench.runner.probe(8)
    assert bench.sent.frames == [ProbeOk(7), ProbeOk(8)]
    with pytest.raises(DeviceLost, match="dead"):
        bench.runner.probe(9)


def test_turns_are_taken_until_none():
    bench, done = Bench(double), []
    for each in (1, 2):
        bench.runner.turns.put(lambda each=each: done.append(each))
    bench.runner.turns.put(None)
    bench.runner.serve()
    assert done == [1, 2]


def test_memory_is_reported_now_and_then(monkeypatch):
    monkeypatch.setattr(devices, "memory_of", lambda device: (5, 9))
    bench = Bench(double)
    bench.run([1])
    bench.run([1])
    assert bench.sent.of(Memory) == [Memory(5, 9, oom=False)]


def test_a_fault_of_the_device_behind_the_model_s_own_error_ends_the_engine(monkeypatch):
    def synchronize(device):
        raise RuntimeError("CUDA error: device-side assert triggered")

    bench = Bench(refusing(2, ValueError("the model has caught it")))
    monkeypatch.setattr(devices, "synchronize", synchronize)
    with pytest.raises(DeviceLost, match="device-side assert"):
        bench.run([1, 2, 3])
    assert bench.tried == [3]
