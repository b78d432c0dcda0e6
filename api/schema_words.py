"""The words of JSON Schema, by what the compiler does with them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

Schema = Mapping[str, Any]
#: The place of a keyword in the schema, as jsonschema-rs names it: ("properties", "a", "not").
Pointer = tuple[str | int, ...]

#: The key under which `model_store.json_schema` notes what kind of type wrote a schema.
NOTE = "x-pydantic"

#: Keywords that core has no word for, wherever they stand.
BEYOND = frozenset(
    (
        *("not", "if", "then", "else", "contains", "minContains", "maxContains"),
        *("dependentRequired", "dependentSchemas", "dependencies"),
        *("unevaluatedItems", "unevaluatedProperties", "$dynamicRef", "$recursiveRef"),
    )
)
#: Keywords that bind the values of one type; without `type` they bind no others.
BINDING = frozenset(
    (
        *("minLength", "maxLength", "pattern", "format"),
        *("minimum", "exclusiveMinimum", "maximum", "exclusiveMaximum", "multipleOf"),
        *("items", "prefixItems", "minItems", "maxItems", "uniqueItems"),
        *("properties", "required", "additionalProperties", "patternProperties"),
        *("propertyNames", "minProperties", "maxProperties"),
    )
)
#: Keywords that join other schemas or list values.
COMBINING = frozenset(("allOf", "anyOf", "oneOf", "enum", "const"))
#: What may stand beside a `$ref` without meaning anything to validation.
REF_AND_NOTES = frozenset(
    (
        *("$ref", "$defs", "definitions", "$schema", "$id", "$comment", "discriminator"),
        *("title", "description", "default", "examples", "example"),
        *("deprecated", "readOnly", "writeOnly"),
    )
)


def says_more(rest: Schema) -> bool:
    """Tell whether what is left of a schema binds anything."""
    return any(keyword in rest for keyword in (*BINDING, *COMBINING, "type", "$ref"))
