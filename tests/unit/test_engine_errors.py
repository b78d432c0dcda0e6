"""Whatever an author's code raises or refuses, its error can be sent and the engine lives."""

from __future__ import annotations

from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from worker.channel import pack
from worker.engine.faults import problem_of
from worker.engine.prepare import invalid_input
from worker.wire import Refused


class Nasty(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Unshown:
    def __repr__(self) -> str:
        raise RuntimeError("no face")


class Strict(BaseModel):
    n: None


DEEP: list[Any] = []
for _ in range(2000):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "value", [10**30, {"a": [-(10**30)]}, float("inf"), "\ud800", Unshown(), DEEP, b"\xff"]
)
def test_a_refused_value_of_any_kind_is_told(value: Any) -> None:
    with pytest.raises(ValidationError) as caught:
        Strict.model_validate({"n": value}, strict=True)
    assert pack([Refused(1, invalid_input(caught.value, "job_1"))])


@pytest.mark.parametrize("error", [Nasty(), ValueError("\ud800"), OSError("x"), KeyError(10**30)])
def test_an_exception_of_any_kind_is_told(error: Exception) -> None:
    assert pack([Refused(1, problem_of(error, "prepare", "job_1"))])
