"""Arrays and objects of a JSON Schema as pydantic-core schemas."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Protocol

from pydantic_core import CoreSchema, core_schema

from api.schema_words import Pointer, Schema

#: Types whose values can be members of a set.
_HASHABLE = frozenset(
    (
        *("str", "int", "float", "bool", "none", "literal", "enum", "bytes", "url"),
        *("date", "datetime", "time", "timedelta", "uuid", "decimal"),
        *("function-after", "function-plain", "function-wrap"),
        *("lax-or-strict", "json-or-python"),
    )
)
_EXTRA: dict[Any, core_schema.ExtraBehavior] = {None: "ignore", True: "allow", False: "forbid"}


class Nodes(Protocol):
    """What compiles the schemas inside a container, and is told what core cannot check."""

    marks: set[Pointer]

    def node(self, node: Any, at: Pointer) -> CoreSchema:
        """Return the core schema of a schema at a place."""
        ...

    def unnoted(self, node: Schema, at: Pointer) -> CoreSchema:
        """Return the core schema by the words of JSON Schema alone."""
        ...

    def leave(self, node: Schema, keywords: set[str], at: Pointer) -> None:
        """Mark those of the keywords that the schema has."""
        ...


class Instance:
    """What core fills while it validates an object; nobody looks at it."""

    __slots__ = (
        "__dict__",
        "__pydantic_extra__",
        "__pydantic_fields_set__",
        "__pydantic_private__",
    )


def array(nodes: Nodes, node: Schema, at: Pointer) -> CoreSchema:
    if "prefixItems" in node:
        return _tuple(nodes, node, at)
    least, most = node.get("minItems"), node.get("maxItems")
    if most == 0 and least == 0 and "items" not in node:
        return core_schema.tuple_schema([])
    before = len(nodes.marks)
    items = nodes.node(node.get("items", True), (*at, "items"))
    if node.get("uniqueItems"):
        if items["type"] in _HASHABLE and before == len(nodes.marks):
            return core_schema.set_schema(items, min_length=least, max_length=most)
        nodes.marks.add((*at, "uniqueItems"))
    return core_schema.list_schema(items, min_length=least, max_length=most)


def _hashable(schema: Any) -> bool:
    if schema["type"] == "tuple":
        return all(map(_hashable, schema["items_schema"]))
    return schema["type"] in _HASHABLE


def _tuple(nodes: Nodes, node: Schema, at: Pointer) -> CoreSchema:
    prefix = node["prefixItems"]
    if node.get("minItems", 0) < len(prefix):
        # Core's tuples have no optional items.
        nodes.leave(node, {"prefixItems", "items", "uniqueItems"}, at)
        least, most = node.get("minItems"), node.get("maxItems")
        return core_schema.list_schema(None, min_length=least, max_length=most)
    nodes.leave(node, {"uniqueItems"}, at)
    items = [nodes.node(one, (*at, "prefixItems", i)) for i, one in enumerate(prefix)]
    rest = node.get("items", True)
    if node.get("maxItems") == len(prefix) or rest is False:
        return core_schema.tuple_schema(items)
    items.append(nodes.node(rest, (*at, "items")))
    return core_schema.tuple_schema(
        items,
        variadic_item_index=len(prefix),
        min_length=node["minItems"],
        max_length=node.get("maxItems"),
    )


def model_or_dict(nodes: Nodes, node: Schema, at: Pointer) -> CoreSchema:
    if "properties" not in node and "required" not in node:
        return _dict(nodes, node, at)
    beyond = {"patternProperties", "propertyNames", "minProperties", "maxProperties"}
    nodes.leave(node, beyond, at)
    extra = node.get("additionalProperties")
    if "patternProperties" in node:
        nodes.leave(node, {"additionalProperties"}, at)
        extra = None
    wanted = node.get("required", [])
    properties = {**node.get("properties", {}), **_undescribed(node)}
    fields = {
        name: _field(nodes, inner, (*at, "properties", name), required=name in wanted)
        for name, inner in properties.items()
    }
    name = class_name(at, node)
    extras = isinstance(extra, Mapping)
    return core_schema.model_schema(
        type(name, (Instance,), {"__slots__": ()}),
        core_schema.model_fields_schema(
            fields,
            model_name=name,
            extra_behavior=_EXTRA[extra] if not extras else "allow",
            extras_schema=nodes.node(extra, (*at, "additionalProperties")) if extras else None,
        ),
    )


def _field(nodes: Nodes, node: Any, at: Pointer, *, required: bool) -> core_schema.ModelField:
    schema = nodes.node(node, at)
    if not required:
        schema = core_schema.with_default_schema(schema, default=None)
    return core_schema.model_field(schema)


def _dict(nodes: Nodes, node: Schema, at: Pointer) -> CoreSchema:
    values, place = node.get("additionalProperties", True), (*at, "additionalProperties")
    patterns, keys = node.get("patternProperties", {}), {"type": "string"}
    if len(patterns) == 1 and node.get("additionalProperties", False) is False:
        # So Pydantic writes keys that must match; to JSON Schema other keys would be free.
        keys["pattern"], values = next(iter(patterns.items()))
        place = (*at, "patternProperties", keys["pattern"])
    elif patterns:
        nodes.leave(node, {"patternProperties", "additionalProperties"}, at)
        values = True
    names = node.get("propertyNames", {})
    if isinstance(names, Mapping):
        closed = "$ref" in names or "enum" in names or "const" in names
        keys = dict(names) if closed else {**keys, **names}
    else:
        nodes.leave(node, {"propertyNames"}, at)
    return core_schema.dict_schema(
        nodes.node(keys, (*at, "propertyNames")),
        nodes.node(values, place),
        min_length=node.get("minProperties"),
        max_length=node.get("maxProperties"),
    )


def class_name(at: Pointer, node: Schema) -> str:
    """Return the name of the class that wrote a schema: its title, unless that was set by hand."""
    title = str(node.get("title", "") or "Model")
    if len(at) != 2 or at[0] not in ("$defs", "definitions"):
        return title
    key = str(at[1])
    plain = re.sub(r"[^a-zA-Z0-9.\-_]", "_", title)
    return title if key == plain or key.endswith(f"__{plain}") else key


def _undescribed(node: Schema) -> dict[str, Any]:
    properties = node.get("properties", {})
    return {name: True for name in node.get("required", []) if name not in properties}
