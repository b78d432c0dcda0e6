"""From JSON to what predict takes; each failure stays with its job."""

import json

import pytest

from model_store.loader import load_folder
from worker.engine.batch import HeldJob
from worker.engine.batcher import Batcher
from worker.engine.faults import DeviceLost
from worker.engine.memory import SafeSizes
from worker.engine.prepare import Preparer
from worker.engine.timing import BatchTime
from worker.wire import EngineJob

MODEL = """
from pydantic import BaseModel, Field, field_validator, model_validator

class Input(BaseModel):
    text: str
    number: int = Field(1, ge=0)

    @field_validator("text")
    @classmethod
    def _known(cls, value):
        if value == "broken validator":
            raise KeyError(value)
        if value == "forbidden":
            raise ValueError("not this word")
        return value

    @model_validator(mode="after")
    def _whole(self):
        if self.text == "whole":
            raise ValueError("not as a whole")
        return self

class Output(BaseModel):
    text: str

class Panic(BaseException):
    pass

class Busy(Exception):
    retryable = True

class Model:
    max_batch = 4
    example = {"text": "fine"}
    def load(self, ctx): pass
    def prepare(self, input):
        match input.text:
            case "bad": raise ValueError("cannot prepare")
            case "busy": raise Busy("later")
            case "panic": raise Panic("rust")
            case "exit": raise SystemExit(3)
            case "cuda": raise RuntimeError("CUDA error: misaligned address")
        return input.text.upper()
    def cost(self, prepared):
        return {"NAN": float("nan"), "MINUS": -1, "WORDS": "many", "HUGE": 1000}.get(prepared, 7)
    def predict(self, batch, ctx): return []
"""


@pytest.fixture
def preparer(tmp_path):
    folder = tmp_path / "words"
    folder.mkdir()
    (folder / "model.py").write_text(MODEL)
    batcher = Batcher(SafeSizes({}, 4), BatchTime(), max_batch=4, max_cost=100)
    return Preparer(load_folder(folder), batcher)


def held(value, **options):
    text = value if isinstance(value, bytes) else json.dumps(value).encode()
    return HeldJob(EngineJob("job_1", 1, text, **options), 0.0, 0.0)


def prepared(preparer, value):
    job = held(value)
    preparer.prepare([job])
    return job


def test_a_good_input_is_prepared_and_has_its_cost(preparer):
    job = prepared(preparer, {"text": "fine"})
    assert (job.prepared, job.cost, job.refusal) == ("FINE", 7, None)


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (
            {"text": 5, "number": -1},
            [("string_type", ["text"]), ("greater_than_equal", ["number"])],
        ),
        ({"text": "x", "number": "1"}, [("int_type", ["number"])]),
        ({}, [("missing", ["text"])]),
        (b"{", [("json_invalid", [])]),
        ({"text": "forbidden"}, [("value_error", ["text"])]),
        ({"text": "whole"}, [("value_error", [])]),
    ],
)
def test_an_invalid_input_names_every_wrong_place(preparer, value, found):
    refusal = prepared(preparer, value).refusal
    assert refusal["code"] == "invalid_input"
    assert [(each["type"], each["loc"]) for each in refusal["errors"]] == [
        (kind, ["body", "input", *place]) for kind, place in found
    ]
    assert all(set(each) == {"type", "loc", "msg", "input"} for each in refusal["errors"])
    json.dumps(refusal, allow_nan=False)


def test_a_long_wrong_value_is_cut_and_a_long_list_ends(preparer):
    refusal = prepared(preparer, {"text": ["x" * 10_000]}).refusal
    assert len(refusal["errors"][0]["input"]) < 5_000


@pytest.mark.parametrize(
    ("text", "code", "retryable", "said"),
    [
        ("bad", "model_error", False, "prepare raised ValueError: cannot prepare"),
        ("busy", "model_error", True, "prepare raised Busy: later"),
        ("panic", "model_error", False, "prepare raised Panic: rust"),
        ("exit", "model_error", False, "prepare raised SystemExit: 3"),
        ("broken validator", "model_error", False, "a validator of Input raised KeyError"),
        ("nan", "model_error", False, "cost returned nan"),
        ("minus", "model_error", False, "cost returned -1"),
        ("words", "model_error", False, "cost raised ValueError"),
        ("huge", "input_too_large", False, "cost of 1000 is above"),
    ],
)
def test_a_failure_hurts_its_job_alone(preparer, text, code, retryable, said):
    jobs = [held({"text": "one"}), held({"text": text}), held({"text": "two"})]
    preparer.prepare(jobs)
    assert [each.prepared for each in jobs if not each.refusal] == ["ONE", "TWO"]
    refusal = jobs[1].refusal
    assert (refusal["code"], refusal["retryable"]) == (code, retryable)
    assert said in refusal["detail"]


def test_a_lost_device_is_not_a_jobs_fault(preparer):
    with pytest.raises(DeviceLost, match="misaligned"):
        prepared(preparer, {"text": "cuda"})


def test_a_dropped_job_is_not_prepared(preparer):
    job = held({"text": "fine"})
    job.dropped = True
    preparer.prepare([job])
    assert job.prepared is None


def test_work_is_cut_into_parts_that_are_ready_soon(preparer):
    jobs = [held({"text": "x"}) for _ in range(10)]
    assert [len(each) for each in preparer.parts(jobs, 4)] == [3, 3, 3, 1]
    preparer._per_job = 1.0
    assert [len(each) for each in preparer.parts(jobs, 4)] == [1] * 10
    assert not preparer.is_light(jobs[:1])
