"""A model's card as OpenAPI: its schemas as components, its two submits as paths of their own."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from api import envelope
from api.openapi_schemas import Described, reference
from api.schema_words import NOTE, Schema

#: Keywords that hold one schema, several by name, or several in a list. All others hold data.
_ONE = frozenset(
    (
        *("additionalProperties", "contains", "contentSchema", "else", "if", "items", "not"),
        *("propertyNames", "then", "unevaluatedItems", "unevaluatedProperties"),
    )
)
_BY_NAME = frozenset(
    ("$defs", "definitions", "dependentSchemas", "patternProperties", "properties")
)
_LISTED = frozenset(("allOf", "anyOf", "oneOf", "prefixItems"))
#: `$id` and `$schema` would move the base of every reference in a document that is one whole.
_DROPPED = frozenset((NOTE, "$id", "$schema", "$defs"))


def components(name: str, schema: Schema) -> dict[str, Described]:
    """Return a schema and each of its definitions as components with names of their own."""
    definitions = schema.get("$defs", {})
    names: dict[str, str] = {}
    for key in definitions:
        plain = f"{name}.{re.sub(r'[^a-zA-Z0-9._-]', '_', key)}"
        while plain in names.values():
            plain += "_"
        names[key] = plain
    hoisting = _Hoisting(name, names)
    whole = hoisting.schema(schema)
    hoisted = {names[key]: hoisting.schema(inner) for key, inner in definitions.items()}
    return {name: whole, **hoisted}


class _Hoisting:
    """Rewrites the references of one schema to where its parts lie as components."""

    def __init__(self, name: str, names: Mapping[str, str]) -> None:
        self._name = name
        self._names = names

    def schema(self, schema: Any) -> Any:
        if not isinstance(schema, Mapping):
            return schema
        return {
            keyword: self._keyword(keyword, value)
            for keyword, value in schema.items()
            if keyword not in _DROPPED
        }

    def _keyword(self, keyword: str, value: Any) -> Any:
        if keyword == "$ref":
            return self._target(value)
        if keyword in _ONE:
            return self.schema(value)
        if keyword in _BY_NAME and isinstance(value, Mapping):
            return {name: self.schema(inner) for name, inner in value.items()}
        if keyword in _LISTED and isinstance(value, list):
            return [self.schema(inner) for inner in value]
        if keyword == "discriminator" and isinstance(value, Mapping):
            return self._discriminator(value)
        return value

    def _discriminator(self, value: Mapping[str, Any]) -> Described:
        # OpenAPI maps a tag to a component; Pydantic also maps one to a union written in place.
        mapping = {
            tag: self._target(target)
            for tag, target in value.get("mapping", {}).items()
            if isinstance(target, str)
        }
        kept = {key: one for key, one in value.items() if key != "mapping"}
        return {**kept, "mapping": mapping} if mapping else kept

    def _target(self, target: str) -> str:
        for key, name in self._names.items():
            place = f"#/$defs/{key.replace('~', '~0').replace('/', '~1')}"
            if target == place or target.startswith(f"{place}/"):
                return f"#/components/schemas/{name}{target.removeprefix(place)}"
        return f"#/components/schemas/{self._name}{target.removeprefix('#')}"


def model_components(model: str, card: Mapping[str, Any]) -> dict[str, Described]:
    """Return the schemas of a model: what goes in, what comes out, its submits and its job."""
    made = components(f"{model}.Input", card["input_schema"])
    made |= components(f"{model}.Output", card["output_schema"])
    made[f"{model}.Submit"] = envelope.as_json_schema("input", reference(f"{model}.Input"))
    made[f"{model}.BatchSubmit"] = envelope.as_json_schema(
        "inputs", envelope.list_schema(reference(f"{model}.Input"))
    )
    made[f"{model}.Job"] = {
        "allOf": [
            reference("Job"),
            {
                "type": "object",
                "properties": {
                    "model": {"const": model},
                    "input": {"anyOf": [reference(f"{model}.Input"), {"type": "null"}]},
                    "output": {"anyOf": [reference(f"{model}.Output"), {"type": "null"}]},
                },
            },
        ]
    }
    made[f"{model}.AcceptedBatch"] = {
        "type": "object",
        "properties": {
            "batch": {"type": "string"},
            "jobs": {"type": "array", "items": reference(f"{model}.Job")},
        },
        "required": ["batch", "jobs"],
    }
    return made
