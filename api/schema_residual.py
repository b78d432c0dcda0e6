"""The part of a JSON Schema that core cannot say, held by jsonschema-rs and reported alike."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, cast

import jsonschema_rs
from jsonschema_rs import ValidationError
from pydantic_core import PydanticKnownError

from api.schema_compile import Compiler
from api.schema_words import Pointer

Loc = tuple[str | int, ...]
Line = dict[str, Any]
#: keyword -> error type and the name of its bound, for the keywords that bind one value
_BOUNDS: dict[str, tuple[str, str]] = {
    "minimum": ("greater_than_equal", "ge"),
    "exclusiveMinimum": ("greater_than", "gt"),
    "maximum": ("less_than_equal", "le"),
    "exclusiveMaximum": ("less_than", "lt"),
    "multipleOf": ("multiple_of", "multiple_of"),
    "minLength": ("string_too_short", "min_length"),
    "maxLength": ("string_too_long", "max_length"),
    "pattern": ("string_pattern_mismatch", "pattern"),
}
_LENGTHS: dict[str, tuple[str, str, str]] = {
    "minItems": ("too_short", "min_length", "List"),
    "maxItems": ("too_long", "max_length", "List"),
    "minProperties": ("too_short", "min_length", "Dictionary"),
    "maxProperties": ("too_long", "max_length", "Dictionary"),
}
_TYPES = {
    "string": "string_type",
    "integer": "int_type",
    "number": "float_type",
    "boolean": "bool_type",
    "null": "none_required",
    "array": "list_type",
    "object": "dict_type",
}


class Residual:
    """What is left of one schema after the compiler took its part; falsy when nothing is."""

    def __init__(self, schema: Mapping[str, Any], compiled: Compiler) -> None:
        self._marks = marked_with_unions(compiled)
        self._links = compiled.links
        self._validator: jsonschema_rs.Validator | None = None
        if self._marks:
            # The mask stands for the value in each message: a value may be as long as a body.
            self._validator = jsonschema_rs.validator_for(
                dict(schema), validate_formats=True, mask="this value"
            )

    def __bool__(self) -> bool:
        return self._validator is not None

    def lines(self, document: Any, loc: Loc, known: Iterable[Loc]) -> list[Line]:
        """Return the errors of the marked places, less those at or above an error in `known`."""
        if self._validator is None:
            return []
        reported = {place[: len(loc) + depth] for place in known for depth in range(len(place) + 1)}
        return [
            line
            for error in self._validator.iter_errors(document)
            if self._is_ours(error.evaluation_path)
            for line in lines_of(error, loc)
            if line["loc"] not in reported
        ]

    def _is_ours(self, path: Iterable[str | int]) -> bool:
        """Walk from the top to the keyword that failed; references jump to where they lead."""
        place: Pointer = ()
        for part in path:
            if place in self._marks:
                return True
            leads = self._links.get(place) if part == "$ref" else None
            place = (*place, part) if leads is None else leads
        return place in self._marks


def marked_with_unions(compiled: Compiler) -> frozenset[Pointer]:
    """Return the marks, and each union with a mark in a branch: its error hides the mark's."""
    marks = set(compiled.marks)

    def holds(place: Pointer, seen: frozenset[Pointer]) -> bool:
        if any(mark[: len(place)] == place for mark in marks):
            return True
        return any(
            holds(target, seen | {target})
            for source, target in compiled.links.items()
            if source[: len(place)] == place and target not in seen
        )

    if marks:
        marks |= {union for union in compiled.unions if holds(union, frozenset())}
    return frozenset(marks)


def lines_of(error: ValidationError, loc: Loc) -> list[Line]:
    """Return the error as Pydantic would report it; one line for each property it is about."""
    keyword, facts = error.kind.name, error.kind.as_dict()
    place, value = (*loc, *error.instance_path), cast("Any", error.instance)
    if keyword == "required":
        return [_known("missing", (*place, facts["property"]), value)]
    if keyword in ("additionalProperties", "unevaluatedProperties"):
        names = facts["unexpected"]
        return [_known("extra_forbidden", (*place, name), value[name]) for name in names]
    if keyword == "propertyNames":
        inner = lines_of(facts["error"], ())[0]
        return [{**inner, "loc": (*place, str(inner["input"]), "[key]")}]
    if keyword in _BOUNDS:
        kind, bound = _BOUNDS[keyword]
        return [_known(kind, place, value, {bound: facts.get("limit", facts.get(bound))})]
    if keyword in _LENGTHS:
        kind, bound, noun = _LENGTHS[keyword]
        about = {"field_type": noun, bound: facts["limit"], "actual_length": len(value)}
        return [_known(kind, place, value, about)]
    return [_other(keyword, facts, place, error)]


def _other(keyword: str, facts: Mapping[str, Any], loc: Loc, error: ValidationError) -> Line:
    if keyword == "type" and len(facts["types"]) == 1:
        return _known(_TYPES[facts["types"][0]], loc, error.instance)
    if keyword in ("enum", "const"):
        options = facts["options"] if keyword == "enum" else [facts["expected_value"]]
        expected = " or ".join(map(repr, options))
        return _known("literal_error", loc, error.instance, {"expected": expected})
    message = f"Value error, {error.message}"
    return {"type": "value_error", "loc": loc, "msg": message, "input": error.instance}


def _known(kind: Any, loc: Loc, value: Any, facts: dict[str, Any] | None = None) -> Line:
    message = PydanticKnownError(kind, facts).message()
    return {"type": kind, "loc": loc, "msg": message, "input": value}
