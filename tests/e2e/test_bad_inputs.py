"""A wrong input is refused at submit just as Pydantic, told to be strict, would refuse it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from pydantic import BaseModel, ValidationError

from headrace.chaos.stack import Api
from model_store.loader import load_folder

from .folders import MODELS
from .problems import problem

WRONG: dict[str, list[Any]] = {
    "text": ["", "x" * 11, 1, None, ["a"], True],
    "code": ["abc", "ABCD", "", 5],
    "count": [0, 11, "1", 1.5, True, None, 1e300],
    "step": [3, 5.5, "5"],
    "ratio": [0.0, 1.0, -3, "0.5", None, False],
    "flag": ["true", 1, 0, None],
    "colour": ["green", 1, None],
    "mode": ["FAST", 0, None],
    "day": ["2026-13-01", "yesterday", 20260101.5, "2026-01-01T10:00:00"],
    "moment": ["2026-01-01T25:00:00", "now", None, []],
    "clock": ["25:00", "noon", None],
    "span": ["one hour", None],
    "key": ["not-a-uuid", "12345678", 5],
    "mail": ["nobody", "a@", "@b.com", 1],
    "link": ["no scheme", "", 7],
    "address": ["256.0.0.1", "::1", "here"],
    "price": ["cheap", None, [1]],
    "point": [{}, {"x": "1"}, {"x": 1, "z": 2}, [1, 2], None],
    "points": [[{"x": 1}] * 4, [{"x": 1}, {"y": 2}], {}, "ab"],
    "names": [[], ["a"], ["ab", 3], None],
    "pair": [[1], [1, "a", 2], ["1", "a"], None],
    "table": [{"a": "1"}, {"a": None}, [], {"a": 1, "b": 1.5}],
    "maybe": ["1", 1.5, []],
    "either": [1.5, None, []],
    "unique": [["a"], {"a": 1}, "abc"],
    "pet": [{"kind": "fish"}, {}, {"kind": "cat"}, {"kind": "dog", "tricks": [1]}, None],
}
CASES = [(field, value) for field, values in WRONG.items() for value in values]


@pytest.fixture(scope="module")
def model_input() -> type[BaseModel]:
    """The author's Input itself: the oracle."""
    return load_folder(MODELS / "kinds").Input


def expected(model: type[BaseModel], given: Any) -> list[tuple[str, list[Any]]]:
    """What Pydantic says in strict mode, as type and place."""
    with pytest.raises(ValidationError) as caught:
        model.model_validate_json(json.dumps(given), strict=True)
    found = caught.value.errors(include_url=False, include_context=False)
    return sorted(((e["type"], ["body", "input", *e["loc"]]) for e in found), key=repr)


def refused(api: Api, given: Any) -> list[tuple[str, list[Any]]]:
    """What the API says, as type and place."""
    errors = problem(api.post("kinds", given), 422, "invalid_input")["errors"]
    assert all(set(e) == {"type", "loc", "msg", "input"} for e in errors), errors
    return sorted(((e["type"], e["loc"]) for e in errors), key=repr)


def test_the_corpus_is_as_wide_as_promised() -> None:
    assert len(CASES) >= 60
    assert len(WRONG) >= 15


@pytest.mark.parametrize(("field", "value"), CASES, ids=lambda x: json.dumps(x)[:30])
def test_a_wrong_field_is_named_as_pydantic_names_it(
    api: Api, model_input: type[BaseModel], field: str, value: Any
) -> None:
    given = {"text": "a", field: value}
    assert refused(api, given) == expected(model_input, given)


@pytest.mark.parametrize("given", [None, [], "text", 5, {}, {"text": None, "count": "x"}])
def test_a_wrong_whole_is_named_as_pydantic_names_it(
    api: Api, model_input: type[BaseModel], given: Any
) -> None:
    assert refused(api, given) == expected(model_input, given)


def test_all_wrong_fields_are_named_at_once(api: Api, model_input: type[BaseModel]) -> None:
    given = {"count": 0, "flag": "yes", "point": {"x": "a", "q": 1}, "names": ["a", "ab", "c"]}
    found = refused(api, given)
    assert found == expected(model_input, given)
    assert len(found) == 7


def test_what_pydantic_takes_is_taken(api: Api) -> None:
    right = {
        "text": "a", "ratio": 0.25, "colour": "blue", "day": "2026-02-03", "clock": "10:11:12",
        "moment": "2026-02-03T04:05:06Z", "span": "PT5M", "price": "2.50", "maybe": None,
        "key": "00000000-0000-4000-8000-000000000000", "mail": "b@example.com", "either": "x",
        "address": "127.0.0.1", "points": [{"x": 1}], "pair": [2, "b"], "table": {"a": 1},
        "unique": [1, 2], "pet": {"kind": "dog", "tricks": ["sit"]}, "link": "http://a.example/b",
    }  # fmt: skip
    assert api.run("kinds", right)["output"] == {"text": "a"}


def test_a_custom_validator_is_the_engines_to_run(api: Api) -> None:
    job = api.run("kinds", {"text": "a", "even": 3})
    assert (job["status"], job["error"]["code"]) == ("failed", "invalid_input")
    assert job["error"]["errors"][0]["loc"] == ["body", "input", "even"]
    assert job["input"] == {"text": "a", "even": 3}
