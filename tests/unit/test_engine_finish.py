"""From what predict returned to the job's JSON; each failure stays with its job."""

import json
import math

import pytest

from model_store.loader import load_folder
from worker.engine.batch import HeldJob
from worker.engine.faults import DeviceLost
from worker.engine.finish import Finisher
from worker.wire import EngineJob

MODEL = """
from pydantic import BaseModel, Field, field_validator

class Input(BaseModel):
    text: str

class Part(BaseModel):
    values: list[float]

class Output(BaseModel):
    text: str = "fine"
    share: float | None = None
    part: Part | None = None
    renamed: int = Field(0, alias="asName", serialization_alias="as-name")

    @field_validator("text")
    @classmethod
    def _known(cls, value):
        if value == "broken":
            raise KeyError(value)
        return value

class Model:
    def load(self, ctx): pass
    def predict(self, batch, ctx): return []
FINISH
"""
FINISH = """
    def finish(self, raw):
        if isinstance(raw, Exception):
            raise raw
        return Output(text=raw)
"""


def make(folder, finish=""):
    folder.mkdir()
    (folder / "model.py").write_text(MODEL.replace("FINISH", finish))
    loaded = load_folder(folder)
    return loaded.Output, Finisher(loaded, 10_000)


@pytest.fixture
def plain(tmp_path):
    return make(tmp_path / "plain")


def item(finisher, result):
    [found] = finisher.finish([HeldJob(EngineJob("job_1", 1, b""), 0, 0)], [result], 0.5)
    assert (found.feed, found.run_s) == (1, 0.5)
    assert (found.output is None) != (found.error is None)
    return found


def code(found):
    return found.error["code"]


def test_an_output_is_written_as_its_schema_says(plain):
    output, finisher = plain
    # Before any is finished: it learns how long that takes, and this process may be held up.
    assert finisher.is_light(1)
    found = item(finisher, output(text="é", share=0.5))
    assert json.loads(found.output) == {"text": "é", "share": 0.5, "part": None, "as-name": 0}


def test_a_dictionary_is_validated(plain):
    assert json.loads(item(plain[1], {"asName": 3}).output)["as-name"] == 3
    found = item(plain[1], {"share": "x", "text": 1})
    assert code(found) == "invalid_output"
    assert [each["loc"] for each in found.error["errors"]] == [
        ["output", "text"],
        ["output", "share"],
    ]
    assert found.error["detail"].startswith("output.text: ")


@pytest.mark.parametrize("bad", [math.nan, math.inf, -math.inf])
def test_numbers_that_json_has_not_are_named_with_their_path(plain, bad):
    found = item(plain[1], {"part": {"values": [0.0, bad]}})
    assert code(found) == "invalid_output"
    assert found.error["detail"] == f"output.part.values[1] is {bad}"
    assert found.error["errors"][0]["loc"] == ["output", "part", "values", 1]


def test_the_word_in_a_text_is_no_number(plain):
    assert item(plain[1], {"text": "NaN null Infinity"}).output is not None


def test_what_was_put_into_an_output_unchecked_is_found(plain):
    output, finisher = plain
    wrong = output.model_construct(text=5, share=0.1, part=None, renamed=1)
    assert code(item(finisher, wrong)) == "invalid_output"


def test_a_text_that_is_no_unicode_is_invalid(plain):
    assert code(item(plain[1], {"text": "\ud800"})) == "invalid_output"


def test_an_exception_in_place_of_a_result_is_that_jobs_fate(plain):
    found = item(plain[1], ValueError("this one"))
    assert (code(found), found.error["detail"]) == (
        "model_error",
        "predict raised ValueError: this one",
    )


def test_a_validator_that_breaks_is_the_models_error(plain):
    assert code(item(plain[1], {"text": "broken"})) == "model_error"


def test_a_result_over_the_limit_is_refused(plain):
    found = item(plain[1], {"text": "x" * 20_000})
    assert code(found) == "result_too_large"
    assert "10000" in found.error["detail"]


def test_finish_is_applied_and_its_exception_hurts_this_job_alone(tmp_path):
    _, finisher = make(tmp_path / "finishing", FINISH)
    assert not finisher.is_light(1)
    jobs = [HeldJob(EngineJob(each, ord(each), b""), 0, 0) for each in "abc"]
    one, bad, two = finisher.finish(jobs, ["x", OSError("disk"), "y"], 0.1)
    assert [json.loads(each.output)["text"] for each in (one, two)] == ["x", "y"]
    assert bad.error["detail"] == "predict raised OSError: disk"
    finisher._per_job = 0.0001
    assert finisher.part_size(8, 2) == 8
    finisher._per_job = 1
    assert finisher.part_size(8, 2) == 4


def test_a_lost_device_is_not_a_jobs_fault(plain):
    with pytest.raises(DeviceLost):
        item(plain[1], RuntimeError("CUDA error: unspecified launch failure"))
