"""From the core schema of a model to one that checks a document which is already parsed.

The same types, errors and places as strict validation of the JSON text. Checking Python objects
costs less, and an error then refers to its input: core copies the JSON of a whole object into each
of its errors, which lets a body of 1 MiB stop a server for seconds.
"""

from __future__ import annotations

from typing import Any, cast

from pydantic_core import CoreSchema, SchemaValidator, core_schema, to_json

_Node = dict[str, Any]

#: Strict, these take from Python objects exactly what they take from JSON.
_STRICT = frozenset(("str", "int", "float", "bool"))
#: These need no strictness: they take from lists, dicts and scalars what they take from JSON.
_SAME = frozenset(("any", "none", "literal", "enum", "definition-ref"))
#: Where the schemas inside each kind of container are kept.
_INSIDE = {
    "list": ("items_schema",),
    "set": ("items_schema",),
    "frozenset": ("items_schema",),
    "dict": ("keys_schema", "values_schema"),
    "nullable": ("schema",),
    "default": ("schema",),
    "model": ("schema",),
    "model-fields": ("extras_schema",),
    "model-field": ("schema",),
}
_MANY = ("list", "set", "frozenset", "tuple", "dict")


class Live:
    """Turns the schemas of one compilation; `fail_fast` stops each list at its first error."""

    def __init__(self, definitions: list[CoreSchema], *, fail_fast: bool = False) -> None:
        self._written = definitions
        self._models = {cast("_Node", one)["ref"] for one in definitions if one["type"] == "model"}
        self._fail_fast = fail_fast
        self.definitions = [self.schema(one) for one in definitions]

    def schema(self, written: CoreSchema) -> CoreSchema:
        """Return the schema that checks parsed documents as `written` checks strict JSON."""
        return cast("CoreSchema", self._turn(cast("_Node", written)))

    def _turn(self, node: _Node) -> _Node:
        kind = node["type"]
        if kind in _STRICT:
            return {**node, "strict": True}
        if kind in _SAME:
            return node
        turned = self._turned(kind, node)
        if turned is None:
            return self._leaf(node)
        if self._fail_fast and kind in _MANY:
            turned["fail_fast"] = True
        return turned

    def _turned(self, kind: str, node: _Node) -> _Node | None:
        """Return the container with its content turned, or None for what is no container."""
        if kind == "union":
            return {**node, "choices": [self._choice(one) for one in node["choices"]]}
        if kind == "tagged-union":
            choices = {tag: self._turn(one) for tag, one in node["choices"].items()}
            return {**node, "choices": choices}
        if kind == "tuple":
            return {**node, "items_schema": [self._turn(one) for one in node["items_schema"]]}
        if kind not in _INSIDE:
            return None
        inside = {key: self._turn(node[key]) for key in _INSIDE[kind] if key in node}
        if kind == "model-fields":
            inside["fields"] = {name: self._turn(one) for name, one in node["fields"].items()}
        return {**node, **inside}

    def _choice(self, node: _Node) -> _Node | tuple[_Node, str]:
        """A choice is named in the places of its errors: keep the name its own validator has."""
        turned = self._turn(node)
        return (turned, self._title(node)) if self._shows_leaf(node) else turned

    def _title(self, node: _Node) -> str:
        written = core_schema.definitions_schema(cast("CoreSchema", node), self._written)
        return SchemaValidator(written).title

    def _shows_leaf(self, node: _Node) -> bool:
        """Tell whether the validator's name would show that a leaf in it was replaced."""
        kind = node["type"]
        if kind in ("model", *_STRICT, *(_SAME - {"definition-ref"})):
            return False
        if kind == "definition-ref":
            return node["schema_ref"] not in self._models
        inner = list(node.get("items_schema", ())) if kind == "tuple" else []
        inner += node["choices"] if kind == "union" else []
        inner += node["choices"].values() if kind == "tagged-union" else []
        inner += [node[key] for key in _INSIDE.get(kind, ()) if key in node]
        known = kind in _INSIDE or kind in ("tuple", "union", "tagged-union")
        return not known or any(self._shows_leaf(one) for one in inner)

    def _leaf(self, node: _Node) -> _Node:
        """Check a value of any other type as the JSON that it was."""
        written = cast("CoreSchema", node)
        if node["type"] == "json":
            written = core_schema.definitions_schema(written, self._written)
        config = core_schema.CoreConfig(**(node.get("metadata", {}).get("config") or {}))
        check = SchemaValidator(written, config).validate_json

        def validate(value: Any) -> Any:
            return check(to_json(value), strict=True)

        plain = core_schema.no_info_plain_validator_function(validate)
        return {**plain, "ref": node["ref"]} if "ref" in node else cast("_Node", plain)
