"""A valid example out of a JSON Schema, for the docs and the warm-up of a model that gives none."""

import json
import math
from collections.abc import Callable, Iterator, Mapping
from fractions import Fraction
from typing import Any

from model_store.pattern import NoMatch, text_matching

Schema = Mapping[str, Any]

#: Beyond this depth only what is required is filled in, so that recursive types come to an end.
DEPTH = 6

FORMATS = {
    "date": "2026-01-31",
    "date-time": "2026-01-31T12:00:00Z",
    "time": "12:00:00Z",
    "duration": "PT1H30M",
    "email": "user@example.com",
    "idn-email": "user@example.com",
    "name-email": "User <user@example.com>",
    "hostname": "example.com",
    "uri": "https://example.com/",
    "multi-host-uri": "https://example.com/",
    "uuid": "123e4567-e89b-12d3-a456-426614174000",
    "uuid1": "123e4567-e89b-11d3-a456-426614174000",
    "uuid3": "123e4567-e89b-32d3-a456-426614174000",
    "uuid4": "123e4567-e89b-42d3-a456-426614174000",
    "uuid5": "123e4567-e89b-52d3-a456-426614174000",
    "ipv4": "192.0.2.1",
    "ipv6": "2001:db8::1",
    "ipvanyaddress": "192.0.2.1",
    "ipv4network": "192.0.2.0/24",
    "ipv6network": "2001:db8::/32",
    "ipvanynetwork": "192.0.2.0/24",
    "ipv4interface": "192.0.2.1/24",
    "ipv6interface": "2001:db8::1/32",
    "ipvanyinterface": "192.0.2.1/24",
    "base64": "aGVsbG8=",
    "base64url": "aGVsbG8=",
    "json-string": "{}",
    "color": "#336699",
    "path": "/",
    "file-path": "/etc/hosts",
    "directory-path": "/",
}
TEXT = "The quick brown fox jumps over the lazy dog. "


class NoExample(Exception):
    """The schema allows nothing that could be found."""


def example_of(schema: Schema) -> Any:
    """A value that is valid against the schema, or None where none was found."""
    try:
        return _Builder(schema).build(schema, 0, 0)
    except (NoExample, NoMatch, RecursionError):
        return None


class _Builder:
    """Walks one schema; `variant` asks for the n-th different value, for sets and keys."""

    def __init__(self, root: Schema) -> None:
        self._definitions: Schema = root.get("$defs", {})

    def build(self, schema: Any, depth: int, variant: int) -> Any:
        """A value for one part of the schema."""
        if schema is False or depth > 4 * DEPTH:
            raise NoExample
        if schema is True or not schema:
            return f"value {variant + 1}" if variant else "value"
        given = list(_given(schema))
        if variant < len(given):
            return given[variant]
        if "enum" in schema or "const" in schema:
            raise NoExample
        if "$ref" in schema:
            return self.build(self._resolve(schema), depth + 1, variant)
        if "allOf" in schema:
            return self.build(self._merged(schema), depth + 1, variant)
        for choice in ("anyOf", "oneOf"):
            if choice in schema:
                return self._first_of(schema[choice], depth, variant)
        return self._typed(schema, depth, variant)

    def _resolve(self, schema: Schema) -> Schema:
        name = schema["$ref"].removeprefix("#/$defs/")
        if name not in self._definitions:
            raise NoExample
        beside = {key: value for key, value in schema.items() if key != "$ref"}
        return {**self._definitions[name], **beside}

    def _merged(self, schema: Schema) -> Schema:
        merged: dict[str, Any] = {key: value for key, value in schema.items() if key != "allOf"}
        for part in schema["allOf"]:
            whole = self._resolve(part) if "$ref" in part else part
            for key, value in whole.items():
                both = merged.get(key)
                if isinstance(both, dict) and isinstance(value, dict):
                    merged[key] = {**both, **value}
                elif isinstance(both, list) and isinstance(value, list):
                    merged[key] = [*both, *value]
                else:
                    merged[key] = value
        return merged

    def _first_of(self, choices: list[Any], depth: int, variant: int) -> Any:
        # Null last: it is the least telling, save where a recursive type has to end.
        deep = depth > DEPTH
        for choice in sorted(choices, key=lambda each: _is_null(each) is not deep):
            try:
                return self.build(choice, depth + 1, variant)
            except (NoExample, NoMatch):
                continue
        raise NoExample

    def _typed(self, schema: Schema, depth: int, variant: int) -> Any:
        kind = schema.get("type")
        if isinstance(kind, list):
            return self._first_of([{**schema, "type": each} for each in kind], depth, variant)
        makers: dict[str | None, Callable[[], Any]] = {
            "string": lambda: self._string(schema, depth, variant),
            "integer": lambda: _number(schema, variant, whole=True),
            "number": lambda: _number(schema, variant, whole=False),
            "boolean": lambda: _boolean(variant),
            "null": lambda: None,
            "array": lambda: self._array(schema, depth),
            "object": lambda: self._object(schema, depth, variant),
        }
        if kind not in makers:
            kind = "object" if "properties" in schema else "string"
        return makers[kind]()

    def _string(self, schema: Schema, depth: int, variant: int) -> str:
        if schema.get("contentMediaType") == "application/json":
            return json.dumps(self.build(schema.get("contentSchema", True), depth + 1, variant))
        return _string(schema, variant)

    def _array(self, schema: Schema, depth: int) -> list[Any]:
        firsts = schema.get("prefixItems", [])
        least = max(schema.get("minItems", 0), len(firsts))
        most = schema.get("maxItems", max(least, 1))
        wanted = least if depth > DEPTH else max(least, min(most, 1))
        unique = schema.get("uniqueItems", False)
        items: list[Any] = []
        for index in range(wanted):
            part = firsts[index] if index < len(firsts) else schema.get("items", True)
            try:
                items.append(self.build(part, depth + 1, index if unique else 0))
            except (NoExample, NoMatch):
                if index < least:
                    raise
        return items

    def _object(self, schema: Schema, depth: int, variant: int) -> dict[str, Any]:
        required = schema.get("required", [])
        made: dict[str, Any] = {}
        for name, part in schema.get("properties", {}).items():
            if name not in required and depth > DEPTH:
                continue
            try:
                made[name] = self.build(part, depth + 1, variant)
            except (NoExample, NoMatch):
                if name in required:
                    raise
        free = schema.get("additionalProperties")
        patterns = schema.get("patternProperties", {})
        if isinstance(free, dict) or patterns:
            wanted = max(schema.get("minProperties", 0), 0 if depth > DEPTH or made else 1)
            self._fill(made, schema, wanted, depth)
        if len(made) < schema.get("minProperties", 0):
            raise NoExample
        return made

    def _fill(self, made: dict[str, Any], schema: Schema, wanted: int, depth: int) -> None:
        names: Any = schema.get("propertyNames", {"type": "string", "examples": ["key"]})
        part: Any = schema.get("additionalProperties", True)
        for pattern, value in schema.get("patternProperties", {}).items():
            names, part = {"type": "string", "pattern": pattern}, value
        for variant in range(8 * wanted):
            if len(made) >= wanted:
                return
            name = self.build(names, depth + 1, variant)
            if name not in made:
                made[name] = self.build(part, depth + 1, 0)


def _given(schema: Schema) -> Iterator[Any]:
    """Values that the schema itself names, the most telling first."""
    yield from schema.get("examples", ())
    if "const" in schema:
        yield schema["const"]
    yield from (each for each in schema.get("enum", ()))
    if schema.get("default") is not None:
        yield schema["default"]


def _is_null(schema: Any) -> bool:
    return isinstance(schema, dict) and schema.get("type") == "null"


def _boolean(variant: int) -> bool:
    if variant > 1:
        raise NoExample
    return variant == 0


def _string(schema: Schema, variant: int) -> str:
    least, most = schema.get("minLength", 0), schema.get("maxLength")
    if "pattern" in schema:
        return text_matching(schema["pattern"], least, most, variant)
    named = FORMATS.get(schema.get("format", ""))
    if named is not None:
        if variant:
            raise NoExample
        return named
    start = f"text {variant + 1}" if variant else "text"
    if most is not None and len(start) > most:
        start = chr(ord("a") + variant % 26) * most
    if len(start) < least:
        start = (f"{start} " if variant else "") + TEXT * (1 + least // len(TEXT))
        start = start[:least]
        # A cut that ends in a space would be shortened by a field that strips white space.
        start = start[:-1] + "." if start.endswith(" ") else start
    return start


def _number(schema: Schema, variant: int, *, whole: bool) -> int | float:
    step = Fraction(str(schema.get("multipleOf", 1)))
    low, high = (
        _edge(schema, "minimum", "exclusiveMinimum"),
        _edge(schema, "maximum", "exclusiveMaximum"),
    )
    if not whole and "multipleOf" not in schema:
        step = _fine_step(low, high)
    if whole and step.denominator != 1:
        step = Fraction(step.numerator)
    first = _first_multiple(low, high, step)
    value = (first + variant) * step
    if not _inside(value, low, high):
        raise NoExample
    return int(value) if whole or value.denominator == 1 else float(value)


Edge = tuple[Fraction, bool] | None


def _edge(schema: Schema, inclusive: str, exclusive: str) -> Edge:
    """The bound and whether it is itself allowed."""
    if exclusive in schema:
        return Fraction(str(schema[exclusive])), False
    return (Fraction(str(schema[inclusive])), True) if inclusive in schema else None


def _fine_step(low: Edge, high: Edge) -> Fraction:
    """A step that has a multiple between the bounds: one, or a power of ten below."""
    step = Fraction(1)
    if low is None or high is None or low[0] >= high[0]:
        # A single allowed number is its own step.
        return abs(low[0]) if low and high and low[0] == high[0] != 0 else step
    while step * 2 > high[0] - low[0]:
        step /= 10
    return step


def _first_multiple(low: Edge, high: Edge, step: Fraction) -> int:
    if low is not None:
        first = math.ceil(low[0] / step)
        return first if low[1] or first * step > low[0] else first + 1
    if high is not None and high[0] < step:
        last = math.floor(high[0] / step)
        return last if high[1] or last * step < high[0] else last - 1
    return 1


def _inside(value: Fraction, low: Edge, high: Edge) -> bool:
    above = low is None or value > low[0] or (low[1] and value == low[0])
    below = high is None or value < high[0] or (high[1] and value == high[0])
    return above and below
