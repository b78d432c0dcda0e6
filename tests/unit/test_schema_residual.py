"""What core cannot say of a JSON Schema is held all the same, and reported alike."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api import input_schema
from jobs.errors import InvalidInput

_A = {"type": "object", "properties": {"a": {"type": "integer", "minimum": 3}}, "required": ["a"]}
_B = {"properties": {"b": {"type": "string", "format": "date"}}, "required": ["b"]}
_INT, _TEXT = {"type": "integer"}, {"type": "string"}


def _object(**more: Any) -> dict[str, Any]:
    return {"type": "object", "properties": {"a": _INT}, **more}


#: schema, document, the type and place of each of its errors
CASES: list[tuple[dict[str, Any], Any, list[tuple[str, list[Any]]]]] = [
    (
        _object(dependentRequired={"a": ["b"]}),
        {"a": "x"},
        [("int_type", ["a"]), ("missing", ["b"])],
    ),
    (_object(dependentRequired={"a": ["b"]}), {"a": 1, "b": 2}, []),
    (_object(dependentSchemas={"a": {"required": ["c"]}}), {"a": 1}, [("missing", ["c"])]),
    ({"not": _TEXT}, "x", [("value_error", [])]),
    ({"not": _TEXT}, 1, []),
    (
        _object(**{"if": {"required": ["a"]}, "then": {"required": ["b"]}}),
        {"a": 1},
        [("missing", ["b"])],
    ),
    (_object(**{"if": {"required": ["a"]}, "else": {"required": ["c"]}}), {}, [("missing", ["c"])]),
    (
        {"allOf": [{"$ref": "#/$defs/A"}, {"$ref": "#/$defs/B"}], "$defs": {"A": _A, "B": _B}},
        {"a": 1, "b": "2020-99-01"},
        [("greater_than_equal", ["a"]), ("value_error", ["b"])],
    ),
    ({"allOf": [_A, _B]}, {}, [("missing", ["a"]), ("missing", ["b"])]),
    ({"allOf": [_A]}, {"a": "x"}, [("int_type", ["a"])]),
    ({"type": "integer", "allOf": [{"minimum": 2}]}, 1, [("greater_than_equal", [])]),
    ({"type": "array", "items": _INT, "contains": {"const": 1}}, [2], [("value_error", [])]),
    ({"type": "array", "items": _INT, "contains": {"const": 1}}, ["x"], [("int_type", [0])]),
    ({"oneOf": [_INT, {"type": "number", "minimum": 5}]}, 7, [("value_error", [])]),
    ({"oneOf": [_INT, {"type": "number", "minimum": 5}]}, 1, []),
    (
        {"anyOf": [_INT, {"type": "array", "items": _INT, "contains": {"const": 1}}]},
        [2],
        [("value_error", [])],
    ),
    ({"type": "string", "format": "hostname"}, "-a-", [("value_error", [])]),
    ({"type": "string", "format": "uri-reference"}, "\\\\", [("value_error", [])]),
    ({"type": "string", "format": "date"}, "2020-99-01", [("date_parsing", [])]),
    (
        {
            "type": "object",
            "patternProperties": {"^i": _INT, "^s": _TEXT},
            "additionalProperties": False,
        },
        {"i": "x", "s": "x", "q": 1},
        [("int_type", ["i"]), ("extra_forbidden", ["q"])],
    ),
    (
        _object(patternProperties={"^i": _INT}, additionalProperties=False),
        {"a": "x", "i": "x", "q": 1},
        [("int_type", ["a"]), ("int_type", ["i"]), ("extra_forbidden", ["q"])],
    ),
    (_object(propertyNames={"maxLength": 2}), {"abc": 1}, [("string_too_long", ["abc", "[key]"])]),
    (_object(minProperties=1), {}, [("too_short", [])]),
    (_object(maxProperties=1), {"a": 1, "b": 2}, [("too_long", [])]),
    (_object(unevaluatedProperties=False), {"b": 1}, [("extra_forbidden", ["b"])]),
    (_object(required=["a", "z"]), {"a": 1}, [("missing", ["z"])]),
    ({"properties": {"a": _INT}, "required": ["a"]}, {"a": "x"}, [("int_type", ["a"])]),
    ({"properties": {"a": _INT}, "required": ["a"]}, 3, []),
    ({"type": "array", "prefixItems": [_INT, _TEXT]}, [1], []),
    ({"type": "array", "prefixItems": [_INT, _TEXT]}, [1, 2], [("string_type", [1])]),
    (
        {"type": "array", "prefixItems": [_INT], "minItems": 1, "items": False},
        [1, 2],
        [("too_long", [])],
    ),
    (
        {"type": "array", "prefixItems": [_INT], "minItems": 1, "items": _TEXT},
        [1, 2],
        [("string_type", [1])],
    ),
    (
        {"type": "array", "items": {"type": "object"}, "uniqueItems": True},
        [{}, {}],
        [("value_error", [])],
    ),
    ({"enum": [[1], {"a": 2}, 3]}, 4, [("literal_error", [])]),
    ({"enum": [[1], {"a": 2}, 3]}, [1], []),
    ({"const": {"a": 1}}, {"a": 2}, [("literal_error", [])]),
    ({"type": ["integer", "null"]}, "x", [("int_type", [])]),
    ({"type": ["integer", "null"]}, None, []),
    ({"minimum": 3, "multipleOf": 2}, 1, [("greater_than_equal", []), ("multiple_of", [])]),
    ({"exclusiveMinimum": 3, "exclusiveMaximum": 1}, 2, [("greater_than", []), ("less_than", [])]),
    (
        {"minLength": 2, "pattern": "^b"},
        "a",
        [("string_too_short", []), ("string_pattern_mismatch", [])],
    ),
    ({"maximum": 3}, "x", []),
    ({"type": "integer", "minimum": 0.5}, 0, [("greater_than_equal", [])]),
    ({"type": "integer", "multipleOf": 1.5}, 2, [("multiple_of", [])]),
    (_object(properties={"a": False}), {"a": 1}, [("value_error", ["a"])]),
    (
        _object(properties={"b": {"$ref": "#/properties/c"}, "c": _INT}),
        {"b": "x"},
        [("int_type", ["b"])],
    ),
    (
        _object(properties={"c": {"$ref": "#"}, "a": _INT}),
        {"c": {"c": {"a": "x"}}},
        [("int_type", ["c", "c", "a"])],
    ),
    (
        {"type": "object", "properties": {"$ref": _INT, "not": {"not": _TEXT}}},
        {"$ref": "x", "not": "x"},
        [("int_type", ["$ref"]), ("value_error", ["not"])],
    ),
    (
        {
            "definitions": {"A": _INT},
            "type": "object",
            "properties": {"a": {"$ref": "#/definitions/A"}},
        },
        {"a": "x"},
        [("int_type", ["a"])],
    ),
    (
        {
            "$defs": {
                "N": {
                    "type": "object",
                    "properties": {"n": {"$ref": "#/$defs/N"}},
                    "not": {"required": ["x"]},
                }
            },
            "$ref": "#/$defs/N",
        },
        {"n": {"n": {"x": 1}}},
        [("value_error", ["n", "n"])],
    ),
]


def errors_of(schema: dict[str, Any], document: Any) -> list[tuple[str, list[Any]]]:
    validator = input_schema.compile(schema)
    try:
        validator.submit(json.dumps({"input": document}).encode())
    except InvalidInput as error:
        return [(line["type"], line["loc"][2:]) for line in error.members["errors"]]
    return []


@pytest.mark.parametrize(("schema", "document", "expected"), CASES, ids=range(len(CASES)))
def test_held_and_reported(
    schema: dict[str, Any], document: Any, expected: list[tuple[str, list[Any]]]
) -> None:
    assert errors_of(schema, document) == expected


def test_a_batch_is_held_to_it_too() -> None:
    validator = input_schema.compile({"not": _TEXT})
    with pytest.raises(InvalidInput) as refused:
        validator.batch(b'{"inputs": [1, "x", 2, "y"]}')
    places = [line["loc"] for line in refused.value.members["errors"]]
    assert places == [["body", "inputs", 1], ["body", "inputs", 3]]


def test_a_message_does_not_repeat_the_value() -> None:
    validator = input_schema.compile({"type": "array", "items": {}, "uniqueItems": True})
    with pytest.raises(InvalidInput) as refused:
        validator.submit(json.dumps({"input": ["long" * 100] * 2}).encode())
    (line,) = refused.value.members["errors"]
    assert line["msg"] == "Value error, this value has non-unique elements"
