"""The types that JSON Schema cannot tell apart, by the notes of `model_store.json_schema`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Annotated, Any, cast

from pydantic import (
    AnyUrl,
    Base64Bytes,
    Base64Str,
    Base64UrlBytes,
    Base64UrlStr,
    ByteSize,
    Field,
    SecretBytes,
    TypeAdapter,
    UrlConstraints,
)
from pydantic_core import CoreSchema, core_schema

from api import schema_types
from api.schema_containers import Nodes, array, model_or_dict
from api.schema_words import NOTE, Pointer, Schema

_Note = Mapping[str, Any]
_Built = dict[str, Any]

_BOUNDS = ("le", "ge", "lt", "gt", "multiple_of")
_VALUES: dict[str, Any] = {
    "date": date,
    "datetime": datetime,
    "decimal": Decimal,
    "time": time,
    "timedelta": timedelta,
}
_ENCODED: dict[Any, Any] = {
    "base64": Base64Bytes,
    "base64url": Base64UrlBytes,
    "password": SecretBytes,
}


def noted(nodes: Nodes, node: Schema, at: Pointer) -> CoreSchema | None:
    """Return the schema that the note of a node tells of, or None for a note not known here."""
    note = node[NOTE]
    build, wraps = _BUILDERS.get(note.get("type")), note.get("wrapped", ())
    if build is None and not wraps:
        return None
    told = {name: one for name, one in note.items() if name != "wrapped"}
    schema = build(nodes, node, told, at) if build else cast("_Built", nodes.unnoted(node, at))
    for kind, name in wraps:
        schema = _wrap(kind, name, schema)
    return cast("CoreSchema", schema)


def _wrap(kind: str, name: str, schema: _Built) -> _Built:
    """Give a schema the name that an author's validator gave it; the engine alone runs that."""

    def named(value: Any, *rest: Any) -> Any:
        return value

    named.__name__ = name
    function = {"type": "no-info", "function": named}
    return {"type": kind, "function": function, "schema": schema, "metadata": {"named": True}}


def _value(nodes: Nodes, node: Schema, note: _Note, at: Pointer) -> _Built:
    kind = note["type"]
    read = TypeAdapter(_VALUES[kind]).validate_python
    words = {name: read(one) if name in _BOUNDS else one for name, one in note.items()}
    return words


def _complex(nodes: Nodes, node: Schema, note: _Note, at: Pointer) -> _Built:
    return {"type": "complex"}


def _string(nodes: Nodes, node: Schema, note: _Note, at: Pointer) -> _Built:
    plain = {name: one for name, one in node.items() if name != "format"}
    return {**cast("_Built", schema_types.string(plain)), **note}


def _bytes(nodes: Nodes, node: Schema, note: _Note, at: Pointer) -> _Built:
    words = {
        ours: node[theirs]
        for theirs, ours in (("minLength", "min_length"), ("maxLength", "max_length"))
        if theirs in node
    }
    if "val_json_bytes" not in note and node.get("format") in _ENCODED:
        encoded = schema_types.adapted(_ENCODED[node["format"]], tuple(words.items()))
        return cast("_Built", encoded)
    config = {"val_json_bytes": note.get("val_json_bytes", "utf8")}
    return {"type": "bytes", **words, "metadata": {"config": config}}


def _encoded_string(nodes: Nodes, node: Schema, note: _Note, at: Pointer) -> _Built:
    encoded = Base64UrlStr if node.get("format") == "base64url" else Base64Str
    return cast("_Built", TypeAdapter(encoded).core_schema)


def _url(nodes: Nodes, node: Schema, note: _Note, at: Pointer) -> _Built:
    words = {name: one for name, one in note.items() if name != "type"}
    longest = node.get("maxLength")
    more = [] if longest in (None, note.get("max_length")) else [Field(max_length=longest)]
    if note["type"] == "multi-host-url":
        return {"type": "multi-host-url", **words}
    constrained: Any = Annotated[(AnyUrl, UrlConstraints(**words), *more)]
    return cast("_Built", TypeAdapter(constrained).core_schema)


def _union(nodes: Nodes, node: Schema, note: _Note, at: Pointer) -> _Built:
    written = cast("_Built", nodes.unnoted(node, at))
    if note["custom_error_type"] == "byte_size":
        return cast("_Built", TypeAdapter(ByteSize).core_schema)
    return {**written, **note} if written["type"] == "union" else written


def _tagged_union(nodes: Nodes, node: Schema, note: _Note, at: Pointer) -> _Built:
    # A function of the author's picks the branch: any that fits may be the one.
    branches = [nodes.node(one, (*at, "oneOf", i)) for i, one in enumerate(node["oneOf"])]
    return cast("_Built", core_schema.union_schema(list(branches)))


def _many(nodes: Nodes, node: Schema, note: _Note, at: Pointer) -> _Built:
    plain = {name: one for name, one in node.items() if name != "uniqueItems"}
    listed = cast("_Built", array(nodes, plain, at))
    if note["type"] == "tuple":
        items = [listed.pop("items_schema")]
        return {**listed, "type": "tuple", "items_schema": items, "variadic_item_index": 0}
    if listed["type"] == "tuple":
        return {"type": note["type"], "max_length": 0}
    return {**listed, "type": note["type"]}


def _enum(nodes: Nodes, node: Schema, note: _Note, at: Pointer) -> _Built:
    made = schema_types.closed_set(list(node["enum"]), str(node.get("title", "Enum")))
    return {**cast("_Built", made or nodes.unnoted(node, at)), **note}


def _named_tuple(nodes: Nodes, node: Schema, note: _Note, at: Pointer) -> _Built:
    fields, least = [], node.get("minItems", 0)
    for index, name in enumerate(note["names"]):
        schema = nodes.node(node["prefixItems"][index], (*at, "prefixItems", index))
        if index >= least:
            schema = core_schema.with_default_schema(schema, default=None)
        fields.append(core_schema.named_tuple_field(name, schema))
    made = type(note["class"], (tuple,), {"__new__": _nothing})
    return cast("_Built", core_schema.named_tuple_schema(made, fields))


def _nothing(made: type[Any], *values: Any, **named: Any) -> tuple[Any, ...]:
    return ()


def _dict(nodes: Nodes, node: Schema, note: _Note, at: Pointer) -> _Built:
    written = cast("_Built", model_or_dict(nodes, node, at))
    return {**written, "keys_schema": {"type": note["keys"]}}


def _typed_dict(nodes: Nodes, node: Schema, note: _Note, at: Pointer) -> _Built:
    model, inner = _model_of(nodes, node, at)
    fields = {}
    for name, field in inner["fields"].items():
        schema, required = field["schema"], name in node.get("required", ())
        if not required:
            schema = schema["schema"]
        fields[name] = core_schema.typed_dict_field(schema, required=required)
    typed = core_schema.typed_dict_schema(
        fields,
        cls=model["cls"],
        extra_behavior=inner["extra_behavior"],
        extras_schema=inner.get("extras_schema"),
    )
    return cast("_Built", typed)


def _dataclass(nodes: Nodes, node: Schema, note: _Note, at: Pointer) -> _Built:
    model, inner = _model_of(nodes, node, at)
    fields = [
        core_schema.dataclass_field(name, field["schema"])
        for name, field in inner["fields"].items()
    ]
    arguments = core_schema.dataclass_args_schema(
        inner["model_name"], fields, extra_behavior=inner["extra_behavior"]
    )
    names = list(inner["fields"])
    return cast("_Built", core_schema.dataclass_schema(model["cls"], arguments, names))


def _model(nodes: Nodes, node: Schema, note: _Note, at: Pointer) -> _Built:
    model, inner = _model_of(nodes, node, at)
    aliases = note.get("aliases", {})
    properties = {_property(alias): name for name, alias in aliases.items()}
    fields = {}
    for written, field in inner["fields"].items():
        name = properties.get(written, written)
        alias = {"validation_alias": aliases[name]} if name in aliases else {}
        fields[name] = {**field, **alias}
    config = {name: one for name, one in note.items() if name not in ("type", "aliases")}
    return {**model, "schema": {**inner, "fields": fields}, "config": config}


def _property(alias: str | list[Any]) -> str:
    """Return the name that Pydantic gives a property in the schema: its first alias."""
    while not isinstance(alias, str):
        alias = alias[0]
    return alias


def _model_of(nodes: Nodes, node: Schema, at: Pointer) -> tuple[_Built, _Built]:
    described = {"properties": {}, **node}
    model = cast("_Built", model_or_dict(nodes, described, at))
    return model, model["schema"]


_BUILDERS: dict[Any, Callable[[Nodes, Schema, _Note, Pointer], _Built]] = {
    **dict.fromkeys(_VALUES, _value),
    **dict.fromkeys(("deque", "frozenset", "generator", "set", "tuple"), _many),
    "bytes": _bytes,
    "complex": _complex,
    "dataclass": _dataclass,
    "dict": _dict,
    "encoded-str": _encoded_string,
    "enum": _enum,
    "model": _model,
    "multi-host-url": _url,
    "named-tuple": _named_tuple,
    "str": _string,
    "tagged-union": _tagged_union,
    "typed-dict": _typed_dict,
    "union": _union,
    "url": _url,
}
