"""Random values that the chart's schema accepts."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import jsonschema_rs
from hypothesis import strategies as st

from tests.unit.k8s.rendered import CHART, chart, merged

SCHEMA: dict[str, Any] = json.loads((CHART / "values.schema.json").read_text())
_validator = jsonschema_rs.validator_for(SCHEMA)
#: How many values of one section are drawn at most; the others keep their defaults.
MOST = 5

_NAMES = st.sampled_from(["a", "echo", "web-1", "x.y", "gpu0"])
#: Where the schema leaves it to Kubernetes what is valid: some that are.
_FREE: dict[str, st.SearchStrategy[Any]] = {
    "affinity": st.sampled_from(
        [
            {},
            {"podAntiAffinity": {}},
            {
                "nodeAffinity": {
                    "requiredDuringSchedulingIgnoredDuringExecution": {
                        "nodeSelectorTerms": [
                            {"matchExpressions": [{"key": "gpu", "operator": "Exists"}]}
                        ]
                    }
                }
            },
        ]
    ),
    "volumes": st.lists(
        st.sampled_from(
            [
                {"name": "more", "emptyDir": {}},
                {"name": "ca", "configMap": {"name": "ca"}},
                {"name": "img", "image": {"reference": "weights:1"}},
            ]
        ),
        unique_by=lambda each: each["name"],
        max_size=2,
    ),
    "initContainers": st.lists(
        st.just({"name": "pull", "image": "x:1", "command": ["true"]}), max_size=1
    ),
}
#: Strategies from the patterns themselves would be slow, and seldom short.
_BY_PATTERN: dict[str, st.SearchStrategy[str]] = {}


def values() -> st.SearchStrategy[dict[str, Any]]:
    """Values for any part of the chart that fit the schema together with the defaults."""
    return _drawn().filter(lambda each: _validator.is_valid(merged(chart().values, each)))


@st.composite
def _drawn(draw: st.DrawFn) -> dict[str, Any]:
    given: dict[str, Any] = draw(_of(SCHEMA))
    # Most of what there is to render belongs to a model.
    if not given.get("models") and draw(st.sampled_from([True, True, False])):
        given["models"] = draw(_of(SCHEMA["properties"]["models"]))
    return given


def _of(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    if "$ref" in schema:
        return _referred(schema["$ref"])
    if "allOf" in schema and "type" not in schema:
        return _of(schema["allOf"][0])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    kinds = schema.get("type", "object")
    kinds = [kinds] if isinstance(kinds, str) else kinds
    return st.one_of([_of_kind(kind, schema) for kind in kinds])


def _referred(reference: str) -> st.SearchStrategy[Any]:
    parts = reference.removeprefix("#/").split("/")
    if parts[-1] in _FREE and parts[0] == "definitions":
        return _FREE[parts[-1]]
    schema: Any = SCHEMA
    for part in parts:
        schema = schema[part]
    return st.deferred(lambda: _of(schema))


def _of_kind(kind: str, schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    return _KINDS[kind](schema)


def _arrays(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    least = schema.get("minItems", 0)
    return st.lists(_of(schema["items"]), min_size=least, max_size=max(2, least))


def _integers(schema: dict[str, Any]) -> st.SearchStrategy[int]:
    least, most = schema.get("minimum", 0), schema.get("maximum", 2**31 - 1)
    near = min(most, least + 100)
    return st.integers(least, near) | st.sampled_from([least, most])


def _texts(schema: dict[str, Any]) -> st.SearchStrategy[str]:
    pattern = schema.get("pattern")
    if pattern is None:
        least = schema.get("minLength", 0)
        return st.text("aZ0 -_.:'\"{}$%#\\&*é\n", min_size=least, max_size=12)
    if pattern not in _BY_PATTERN:
        drawn = st.from_regex(pattern, fullmatch=True).map(lambda text: text.rstrip("\n"))
        _BY_PATTERN[pattern] = drawn
    return _BY_PATTERN[pattern]


@st.composite
def _some(draw: st.DrawFn, known: dict[str, st.SearchStrategy[Any]], needed: frozenset[str]) -> Any:
    chosen = draw(st.sets(st.sampled_from(sorted(known)), max_size=MOST)) | needed
    return {name: draw(known[name]) for name in sorted(chosen)}


def _objects(schema: dict[str, Any]) -> st.SearchStrategy[Any]:
    properties = schema.get("properties")
    if properties:
        known = {name: _of(each) for name, each in properties.items() if name != "global"}
        least = schema.get("minProperties", 0)
        most = schema.get("maxProperties", len(known))
        return _some(known, frozenset(schema.get("required", ()))).filter(
            lambda each: least <= len(each) <= most
        )
    keys = _of({"type": "string", **schema["propertyNames"]}) if "propertyNames" in schema else None
    if keys is None:
        return st.dictionaries(_NAMES, st.integers(0, 9) | st.text(max_size=5), max_size=2)
    inner = _of(schema["additionalProperties"])
    return st.dictionaries(keys, inner, max_size=2)


_KINDS: dict[str, Callable[[dict[str, Any]], st.SearchStrategy[Any]]] = {
    "null": lambda _: st.none(),
    "boolean": lambda _: st.booleans(),
    "integer": _integers,
    "number": lambda _: st.integers(0, 100_000) | st.floats(0.5, 1000, allow_nan=False),
    "string": _texts,
    "array": _arrays,
    "object": _objects,
}
