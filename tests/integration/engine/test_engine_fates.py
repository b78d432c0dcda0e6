"""What becomes of jobs, and of the engine, when the model or the device fails."""

import json

import pytest

from worker import wire


def codes(outcomes):
    return [each["code"] if isinstance(each, dict) else each for each in outcomes]


@pytest.mark.parametrize(
    ("bad", "code"),
    [
        (13, "model_error"), (22, "invalid_output"), (33, "invalid_output"), (44, "model_error"),
        (55, "model_error"), (66, "model_error"), (77, "model_error"), (99, "input_too_large"),
        ("x", "invalid_input"), (b"{", "invalid_input"),
    ],
)  # fmt: skip
def test_one_bad_job_harms_itself_alone(engine, bad, code):
    found = engine.run(1, 2, bad, 4, started=True)
    assert codes(found) == [1, 2, code, 4]
    assert found[2]["retryable"] == (bad == 77)
    assert found[2]["job_id"] == "job_2"
    json.dumps(found[2], allow_nan=False)


def test_out_of_memory_halves_and_is_remembered(engine):
    assert engine.run(*[88] * 8, started=True) == [88] * 8
    assert engine.all(wire.SafeSize)[-1] == wire.SafeSize("1", 2)
    assert engine.all(wire.Memory)[0].oom
    assert {each.batch_size for each in engine.all(wire.Done)} == {2}
    engine.said.clear()
    engine.run(*range(5), started=True)
    assert max(len(each.feeds) for each in engine.all(wire.Began)) == 2


def test_a_known_safe_size_is_kept_to(fateful):
    engine = fateful(safe_sizes={"1": 3})
    engine.run(*range(8), started=True)
    assert [len(each.feeds) for each in engine.all(wire.Began)] == [3, 3, 2]


def test_a_sticky_fault_ends_the_engine_and_what_was_done_is_sent(engine):
    engine.submit(1, 111, started=True)
    assert "illegal memory access" in engine.first(wire.Fatal).detail
    assert engine.exit() == wire.EXIT_FATAL
    assert engine.outcomes == {}


def test_results_computed_before_a_sticky_fault_are_sent(ready):
    engine = ready(
        """
        def load(self, ctx): pass
        def predict(self, batch, ctx):
            if batch[0].value == 2:
                raise RuntimeError("CUDA error: dead")
            return [{"value": 1}]
        def finish(self, raw):
            time.sleep(0.3)
            return raw
        """,
        "import time",
    )
    engine.submit(1, 2, started=True)
    assert engine.exit() == wire.EXIT_FATAL
    assert engine.outcomes == {"job_0": 1}
    assert engine.all(wire.Fatal)


@pytest.mark.parametrize("where", ["prepare", "finish"])
def test_a_sticky_fault_outside_of_predict_ends_the_engine_too(ready, where):
    engine = ready(
        f"""
        def load(self, ctx): pass
        def predict(self, batch, ctx): return [{{"value": 1}} for _ in batch]
        def {where}(self, given):
            if self.armed:
                raise RuntimeError("CUDA error: dead")
            return given
        armed = False
        def cost(self, prepared):
            self.armed = prepared.value == 2
            return 1
        """
        if where == "finish"
        else """
        def load(self, ctx): pass
        def predict(self, batch, ctx): return [{"value": 1} for _ in batch]
        def prepare(self, input):
            if input.value == 2:
                raise RuntimeError("CUDA error: dead")
            return input
        """
    )
    engine.submit(2, started=True)
    assert engine.first(wire.Fatal).detail == "CUDA error: dead"
    assert engine.exit() == wire.EXIT_FATAL


def test_a_job_answered_before_its_mates_may_come_again_at_once(ready):
    engine = ready(
        """
        max_batch = 2
        def load(self, ctx): pass
        def predict(self, batch, ctx):
            if len(batch) > 1:
                raise ValueError("one by one")
            time.sleep(0.3 if batch[0].value == 3 else 0)
            return [{"value": batch[0].value}]
        """,
        "import time",
    )
    engine.submit(2, 3, started=True)
    engine.until(lambda: "job_0" in engine.outcomes)
    assert "job_1" not in engine.outcomes
    engine.feed(("job_0", b'{"value": 4}'))
    engine.until(lambda: sum(len(each.items) for each in engine.all(wire.Done)) == 3)
    assert [json.loads(each.items[0].output)["value"] for each in engine.all(wire.Done)] == [
        2,
        3,
        4,
    ]
