"""The envelope of a submit and of a batch, and what is answered to a wrong one."""

from __future__ import annotations

import json
import time
from typing import Any

import pytest
from pydantic import BaseModel, ConfigDict, Field, create_model

from api import envelope, input_schema
from api.input_schema import InvalidSchema, SubmitValidator, Validators
from jobs.errors import InvalidInput, MalformedRequest
from jobs.states import Priority
from jobs.webhook import FINAL_EVENTS


class Input(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: str = Field(min_length=1)
    n: int = 7


@pytest.fixture(scope="module")
def validator() -> SubmitValidator:
    return input_schema.compile(Input.model_json_schema())


def wrong(validator: SubmitValidator, body: Any, method: str = "submit") -> list[dict[str, Any]]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    with pytest.raises(InvalidInput) as refused:
        getattr(validator, method)(raw)
    errors: list[dict[str, Any]] = json.loads(json.dumps(refused.value.members["errors"]))
    assert all(set(line) == {"type", "loc", "msg", "input"} for line in errors)
    assert refused.value.detail
    return errors


def places(errors: list[dict[str, Any]]) -> list[tuple[str, list[Any]]]:
    return [(line["type"], line["loc"]) for line in errors]


def test_a_submit_keeps_the_clients_bytes(validator: SubmitValidator) -> None:
    parsed = validator.submit(
        b'{ "metadata": {"a":  1.0},"input" : {"text": "\\u00e9"} ,"deadline_s":4,'
        b' "timeout_s": 0.5, "priority": "high"}'
    )
    assert parsed == envelope.ParsedSubmit(
        input=b'{"text": "\\u00e9"}',
        priority=Priority.HIGH,
        deadline_s=4.0,
        timeout_s=0.5,
        webhook=None,
        metadata=b'{"a":  1.0}',
    )


def test_only_the_input_is_needed(validator: SubmitValidator) -> None:
    bare = validator.submit(b'{"input":{"text":"a"}}')
    nulls = {"priority": None, "deadline_s": None, "timeout_s": None, "metadata": None}
    assert validator.submit(json.dumps({"input": {"text": "a"}, **nulls}).encode()) == (
        envelope.ParsedSubmit(b'{"text": "a"}', Priority.NORMAL, None, None, None, None)
    )
    assert bare.priority is Priority.NORMAL


def test_all_wrong_fields_at_once(validator: SubmitValidator) -> None:
    body = {
        "input": {"text": "", "n": "7", "more": 1},
        "priority": "urgent",
        "deadline_s": 0,
        "timeout_s": "9",
        "metadata": [],
        "webhook": {"url": "https://a.b", "secret": "s3cret"},
        "extra": 1,
    }
    errors = wrong(validator, body)
    assert places(errors) == [
        ("string_too_short", ["body", "input", "text"]),
        ("int_type", ["body", "input", "n"]),
        ("extra_forbidden", ["body", "input", "more"]),
        ("literal_error", ["body", "priority"]),
        ("greater_than", ["body", "deadline_s"]),
        ("float_type", ["body", "timeout_s"]),
        ("webhook_secret", ["body", "webhook", "secret"]),
        ("dict_type", ["body", "metadata"]),
        ("extra_forbidden", ["body", "extra"]),
    ]
    assert errors[1]["input"] == "7"
    assert "s3cret" not in json.dumps(errors)


@pytest.mark.parametrize("seconds", [0, -1, 1e300, "5", True])
def test_seconds_are_positive_and_finite(validator: SubmitValidator, seconds: Any) -> None:
    for field in ("deadline_s", "timeout_s"):
        (error,) = wrong(validator, {"input": {"text": "a"}, field: seconds})
        assert error["loc"] == ["body", field]


def test_metadata_has_a_limit(validator: SubmitValidator) -> None:
    room = envelope.MAX_METADATA - len('{"a": ""}')
    fits = {"input": {"text": "a"}, "metadata": {"a": "x" * room}}
    assert validator.submit(json.dumps(fits).encode()).metadata
    fits["metadata"] = {"a": "x" * (room + 1)}
    assert places(wrong(validator, fits)) == [("too_long", ["body", "metadata"])]


SECRET = "whsec_" + "QUFB" * 8


def kept(validator: SubmitValidator, **hook: Any) -> Any:
    body = {"input": {"text": "a"}, "webhook": hook}
    return json.loads(validator.submit(json.dumps(body).encode()).webhook or b"")


def test_a_webhook_is_kept_with_its_events(validator: SubmitValidator) -> None:
    url = "https://example.com:443/x?a=%20B#"
    assert kept(validator, url=url) == {"url": url, "events": list(FINAL_EVENTS)}
    assert kept(validator, url=url, events=None, secret=None) == kept(validator, url=url)
    given = ["job.failed", "job.started", "job.failed"]
    assert kept(validator, url=url, events=given, secret=SECRET) == {
        "url": url,
        "events": ["job.failed", "job.started"],
        "secret": SECRET,
    }
    batch = {"inputs": [{"text": "a"}], "webhook": {"url": url}}
    parsed = validator.batch(json.dumps(batch).encode())
    assert json.loads(parsed.webhook or b"") == kept(validator, url=url)
    assert validator.submit(b'{"input":{"text":"a"},"webhook":null}').webhook is None


def test_each_wrong_field_of_a_webhook_is_named(validator: SubmitValidator) -> None:
    hook = {"url": "ftp://x", "events": ["job.born"], "secret": 1234567, "x": 1}
    errors = wrong(validator, {"input": {"text": "a"}, "webhook": hook})
    assert places(errors) == [
        ("url_scheme", ["body", "webhook", "url"]),
        ("literal_error", ["body", "webhook", "events", 0]),
        ("string_type", ["body", "webhook", "secret"]),
        ("extra_forbidden", ["body", "webhook", "x"]),
    ]
    assert "1234567" not in json.dumps(errors)
    long = {"url": "https://example.com/" + "x" * envelope.MAX_URL, "events": []}
    errors = wrong(validator, {"input": {"text": "a"}, "webhook": long})
    assert [kind for kind, _ in places(errors)] == ["url_too_long", "too_short"]


@pytest.mark.parametrize("secret", ["", "x" * 15, "x" * 257, "whsec_", "whsec_QUFB", "whsec_é"])
def test_a_secret_that_cannot_sign(validator: SubmitValidator, secret: str) -> None:
    hook = {"url": "https://example.com/", "secret": secret}
    (error,) = wrong(validator, {"input": {"text": "a"}, "webhook": hook})
    assert (error["type"], error["input"]) == ("webhook_secret", "(not shown)")
    assert "whsec_" in error["msg"]


def test_a_batch_names_the_index(validator: SubmitValidator) -> None:
    parsed = validator.batch(b'{"inputs": [{"text":"a"}, {"text": "b"} ], "priority": "low"}')
    assert parsed.inputs == [b'{"text":"a"}', b'{"text": "b"}']
    assert parsed.priority is Priority.LOW
    errors = wrong(validator, {"inputs": [{"text": "a"}, {"text": 1}, {}], "x": 1}, "batch")
    assert places(errors) == [
        ("string_type", ["body", "inputs", 1, "text"]),
        ("missing", ["body", "inputs", 2, "text"]),
        ("extra_forbidden", ["body", "x"]),
    ]


def test_the_size_of_a_batch(validator: SubmitValidator) -> None:
    assert len(validator.batch(json.dumps({"inputs": [{"text": "a"}] * 1000}).encode()).inputs)
    for inputs, kind in (([], "too_short"), ([{"text": "a"}] * 1001, "too_long")):
        errors = wrong(validator, {"inputs": inputs}, "batch")
        assert places(errors) == [(kind, ["body", "inputs"])]
    assert places(wrong(validator, {"input": {"text": "a"}}, "batch")) == [
        ("missing", ["body", "inputs"]),
        ("extra_forbidden", ["body", "input"]),
    ]


def test_what_cannot_be_read_is_malformed(validator: SubmitValidator) -> None:
    for body in (b"", b"[]", b'{"input": NaN}', b'{"input": 1, "input": 2}'):
        with pytest.raises(MalformedRequest):
            validator.submit(body)


def test_integers_over_64_bits_stay_integers() -> None:
    validator = input_schema.compile({"type": "integer", "maximum": 10**24})
    digits = b"1" * 24
    assert validator.submit(b'{"input": %b}' % digits).input == digits
    errors = wrong(validator, b'{"input": %b}' % (b"1" * 26))
    assert places(errors) == [("less_than_equal", ["body", "input"])]
    assert errors[0]["input"] == "1" * 26


def test_long_inputs_are_not_repeated() -> None:
    validator = input_schema.compile({"type": "integer"})
    for value in ("x" * 5000, ["x"] * 5000, {str(key): 1 for key in range(5000)}):
        (error,) = wrong(validator, {"input": value})
        assert len(error["input"]) < 200


def test_very_many_errors_become_the_first_of_each_list() -> None:
    class Two(BaseModel):
        a: list[int]
        b: dict[str, int]

    validator = input_schema.compile(Two.model_json_schema())
    body = {"input": {"a": ["x"] * 900, "b": {str(key): "x" for key in range(900)}}}
    assert places(wrong(validator, body)) == [
        ("int_type", ["body", "input", "a", 0]),
        ("int_type", ["body", "input", "b", "0"]),
    ]


def test_a_large_wrong_body_costs_little() -> None:
    """Core would copy the whole object into each error, were it given the text: 14 s for this."""
    wanted = {f"field_{index}": (int, ...) for index in range(50)}
    validator = input_schema.compile(create_model("Wide", **wanted).model_json_schema())  # type: ignore[call-overload]
    body = json.dumps({"input": {"junk": [{"a": "b"}] * 80_000}}).encode()
    began = time.process_time()
    assert len(wrong(validator, body)) == 50
    assert time.process_time() - began < 3


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        ({"type": "strin"}, "not a JSON Schema: at type"),
        ({"type": "string", "pattern": "("}, "unterminated subpattern"),
        ({"$ref": "https://example.com/schema"}, "leads out of the schema"),
        ({"$ref": "#/$defs/gone"}, "leads nowhere"),
        ({"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"}, "refers to itself"),
    ],
)
def test_a_schema_that_checks_nothing_is_refused(schema: dict[str, Any], said: str) -> None:
    with pytest.raises(InvalidSchema, match=said.replace("$", r"\$")):
        input_schema.compile(schema)


def test_validators_are_kept_until_their_card_changes() -> None:
    validators = Validators(limit=2)
    first = validators.get("a", "1", {"type": "integer"})
    assert validators.get("a", "1", {"type": "integer"}) is first
    assert validators.get("a", "1", {"type": "string"}) is not first
    validators.get("b", "1", {"type": "integer"})
    kept = validators.get("a", "1", {"type": "string"})
    validators.get("c", "1", {"type": "integer"})
    assert validators.get("a", "1", {"type": "string"}) is kept
