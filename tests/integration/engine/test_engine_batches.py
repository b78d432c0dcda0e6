"""What becomes of jobs in a real engine."""

import time
from itertools import pairwise

from worker import wire


def codes(outcomes):
    return [each["code"] if isinstance(each, dict) else each for each in outcomes]


def test_jobs_come_back_with_their_own_results(engine):
    assert engine.run(*range(30, 33), *range(0, 13)) == [*range(30, 33), *range(0, 13)]
    for formed, began in zip(engine.all(wire.Formed), engine.all(wire.Began), strict=True):
        assert (formed.batch, formed.feeds) == (began.batch, began.feeds)
    done = engine.all(wire.Done)
    assert all(0 < each.batch_size <= 8 and each.run_s >= 0 for each in done)
    assert len([each for each in done if each.last]) == len(engine.all(wire.Formed))


def test_only_what_go_names_runs(engine):
    engine.lenient = False
    engine.submit(1)
    formed = engine.first(wire.Formed)
    engine.submit(*range(100, 104))
    engine.send(wire.Drop([engine.number("job_1"), 99]))
    engine.send(wire.Go(formed.batch, []))
    formed = engine.until(lambda: engine.all(wire.Formed)[1:])[0]
    assert set(engine.named(formed.feeds)) == {"job_0", "job_2", "job_3"}
    engine.send(wire.Go(formed.batch, [engine.number("job_3")]))
    engine.until(lambda: engine.outcomes)
    assert engine.outcomes == {"job_3": 103}
    # A forgotten id may come again.
    engine.lenient = True
    assert engine.run(7, 8) == [7, 8]


def test_a_job_of_its_own_batch_is_alone(engine):
    jobs = [
        wire.EngineJob(f"job_{i}", i, b'{"value": 1}', alone=i == 1, started=True) for i in range(4)
    ]
    engine.names += [each.id for each in jobs]
    engine.send(wire.Jobs(jobs))
    engine.until(lambda: len(engine.outcomes) == 4)
    assert [1] in [each.feeds for each in engine.all(wire.Began)]


def test_the_next_batch_is_asked_for_while_one_runs(ready):
    engine = ready(
        """
        def load(self, ctx): pass
        def predict(self, batch, ctx):
            time.sleep(0.05)
            return [{"value": each.value} for each in batch]
        """,
        "import time",
    )
    engine.run(*range(20))
    told = (wire.Formed, wire.Began, wire.Done)
    order = [type(each).__name__ for each in engine.said if isinstance(each, told)]
    # Once it is known how long a batch takes.
    ahead = list(pairwise(order)).count(("Began", "Formed"))
    assert ahead >= 5


def test_an_idle_engine_does_not_wait_for_more(ready):
    engine = ready(
        """
        max_batch = 8
        max_wait_ms = 5000
        def load(self, ctx): pass
        def predict(self, batch, ctx): return [{"value": len(batch)} for _ in batch]
        """
    )
    for _ in range(5):
        began = time.monotonic()
        engine.said.clear()
        assert engine.run(1) == [1]
        assert time.monotonic() - began < 2


def test_it_waits_for_what_the_feeder_announced(ready):
    engine = ready(
        """
        max_batch = 8
        max_wait_ms = 5000
        def load(self, ctx): pass
        def predict(self, batch, ctx): return [{"value": len(batch)} for _ in batch]
        """
    )
    job = b'{"value": 1}'
    engine.feed(("job_0", job), more=True)
    time.sleep(0.1)
    engine.feed(("job_1", job))
    engine.until(lambda: len(engine.outcomes) == 2)
    assert engine.outcomes == {"job_0": 2, "job_1": 2}
    # The announcement can be taken back.
    began = time.monotonic()
    engine.said.clear()
    engine.feed(("job_2", job), more=True)
    engine.send(wire.Jobs([]))
    engine.until(lambda: engine.outcomes)
    assert time.monotonic() - began < 3


STEPS = """
max_batch = 4
def load(self, ctx): pass
def predict(self, batch, ctx):
    for step in range(batch[0].value - 1):
        for job in ctx.jobs:
            job.progress(step / 100, f"step {step}")
        if ctx.jobs[-1].canceled:
            ctx.jobs[-1].log("stopped")
            return [{"value": 0} for _ in batch]
        time.sleep(0.02)
    yield {0: "partial"}
    return [{"value": 1} for _ in batch]
"""


def test_the_model_sees_a_cancel_and_tells_how_far_it_is(ready):
    engine = ready(STEPS, "import time")
    began = time.monotonic()
    engine.submit(1000, 2, started=True)
    engine.until(lambda: len(engine.all(wire.Progress)) >= 8)
    # From the start on: a busy machine may hand over late what was told in time.
    assert time.monotonic() - began >= 1.4
    assert {each.feed for each in engine.all(wire.Progress)[:4]} == {0, 1}
    engine.send(wire.Cancel([1, 99]))
    engine.until(lambda: len(engine.outcomes) == 2)
    assert engine.all(wire.Log) == [wire.Log(1, "stopped")]


def test_a_job_canceled_before_it_begins_is_spared(engine):
    engine.lenient = False
    engine.submit(1, 2)
    formed = engine.first(wire.Formed)
    engine.send(wire.Cancel([1]), wire.Go(formed.batch, formed.feeds))
    engine.until(lambda: len(engine.outcomes) == 2)
    assert codes(engine.outcomes[each] for each in ("job_0", "job_1")) == [1, "canceled"]


def test_stop_finishes_what_runs_and_gives_back_the_rest(ready):
    engine = ready(
        """
        def load(self, ctx): pass
        def predict(self, batch, ctx):
            time.sleep(0.3 if batch[0].value > 1 else 0)
            return [{"value": each.value} for each in batch]
        def finish(self, raw):
            time.sleep(0.2)
            return raw
        """,
        "import time",
    )
    engine.lenient = False
    engine.submit(5, 6, started=True)
    engine.feed(("waiting", b"{}"))
    engine.first(wire.Began)
    assert engine.stop() == wire.EXIT_STOPPED
    assert engine.outcomes == {"job_0": 5, "job_1": 6}


def test_a_flood_is_answered_once_each(engine):
    names = [f"job_{each}" for each in range(5000)]
    for start in range(0, 5000, 250):
        engine.feed(*((each, b'{"value": 2}') for each in names[start : start + 250]))
    engine.until(lambda: sum(len(each.items) for each in engine.all(wire.Done)) == 5000)
    assert engine.outcomes == dict.fromkeys(names, 2)
    assert engine.stop() == wire.EXIT_STOPPED
