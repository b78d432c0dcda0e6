"""The JSON Schema of an author's Input, with notes of what JSON Schema has no word for.

A note is the key `x-pydantic`: the kind of type that wrote this schema and its bounds. A reader
that does not know it loses nothing of JSON Schema; the API checks inputs by it exactly as Pydantic
would: a Decimal is not a union of number and string, a tuple is not a list.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import timedelta
from functools import partial
from typing import Any, cast

from pydantic.json_schema import CoreSchemaOrFieldType, GenerateJsonSchema, JsonSchemaValue

NOTE = "x-pydantic"

_BOUNDS = ("le", "ge", "lt", "gt")
_MOMENT = (*_BOUNDS, "now_op", "tz_constraint", "microseconds_precision")
#: Kind of core schema -> what is noted of it. With `when` set, only where one of these is given.
_ALWAYS: dict[str, tuple[str, ...]] = {
    "bytes": (),
    "complex": (),
    "dataclass": (),
    "decimal": (*_BOUNDS, "max_digits", "decimal_places", "multiple_of", "allow_inf_nan"),
    "deque": (),
    "frozenset": (),
    "generator": (),
    "set": (),
    "multi-host-url": ("max_length", "allowed_schemes", "host_required"),
    "typed-dict": (),
    "url": ("max_length", "allowed_schemes", "host_required"),
}
_WHERE_GIVEN: dict[str, tuple[str, ...]] = {
    "date": (*_BOUNDS, "now_op"),
    "datetime": _MOMENT,
    "enum": ("sub_type",),
    "str": ("strip_whitespace", "to_lower", "to_upper"),
    "time": (*_BOUNDS, "tz_constraint"),
    "timedelta": _BOUNDS,
    "union": ("custom_error_type", "custom_error_message"),
}
#: Of a model's config, what changes how its fields are read.
_CONFIG = ("str_strip_whitespace", "str_to_lower", "str_to_upper", "validate_by_name")

_BYTES = frozenset(("val_json_bytes", "ser_json_bytes"))

_Node = Mapping[str, Any]
_Method = Callable[[Any], JsonSchemaValue]


class InputJsonSchema(GenerateJsonSchema):
    """Pydantic's own generator, with the notes."""

    def build_schema_type_to_method(self) -> dict[CoreSchemaOrFieldType, _Method]:
        """Return Pydantic's table, with each kind that leaves a note wrapped."""
        methods = cast("dict[str, _Method]", super().build_schema_type_to_method())
        noters: dict[str, Callable[[_Node], dict[str, Any]]] = {
            "dict": _of_dict,
            "model": _of_model,
            "named-tuple": _of_named_tuple,
            "tagged-union": _of_tagged_union,
            "tuple": _of_tuple,
        }
        noters.update((kind, partial(_of, names)) for kind, names in _ALWAYS.items())
        noters.update((kind, partial(_if_given, names)) for kind, names in _WHERE_GIVEN.items())
        for kind, noter in noters.items():
            methods[kind] = partial(self._noted, methods[kind], noter)
        for kind in ("function-after", "function-before", "function-wrap"):
            methods[kind] = partial(self._wrapped, methods[kind])
        return cast("dict[CoreSchemaOrFieldType, _Method]", methods)

    def _noted(
        self, write: _Method, noter: Callable[[_Node], dict[str, Any]], schema: _Node
    ) -> JsonSchemaValue:
        written, note = write(schema), noter(schema)
        if schema["type"] == "bytes" and self._config.config_dict.keys() & _BYTES:
            note["val_json_bytes"] = self._config.val_json_bytes
        return {**written, NOTE: {**written.get(NOTE, {}), **note}} if note else written

    def _wrapped(self, write: _Method, schema: _Node) -> JsonSchemaValue:
        """Note the author's validators: their names are part of the places of errors in a union."""
        written, function = write(schema), schema["function"]["function"]
        name = getattr(function, "__name__", None)
        note = written.get(NOTE, {})
        if getattr(function, "__module__", "").partition(".")[0] == "pydantic":
            # Base64Str: text that the encoded bytes of the same format need not be.
            encoded = {"type": "encoded-str"} if name == "decode_str" else {}
            return {**written, NOTE: encoded} if encoded else written
        if name is None:
            return written
        wraps = [*note.get("wrapped", []), [schema["type"], name]]
        return {**written, NOTE: {**note, "wrapped": wraps}}


def _of(names: tuple[str, ...], schema: _Node) -> dict[str, Any]:
    return {"type": schema["type"], **_plain(names, schema)}


def _if_given(names: tuple[str, ...], schema: _Node) -> dict[str, Any]:
    given = _plain(names, schema)
    return {"type": schema["type"], **given} if given else {}


def _of_dict(schema: _Node) -> dict[str, Any]:
    keys = schema.get("keys_schema", {}).get("type", "str")
    return {"type": "dict", "keys": keys} if keys in ("int", "float", "bool") else {}


def _of_tuple(schema: _Node) -> dict[str, Any]:
    return {"type": "tuple"} if schema.get("variadic_item_index") == 0 else {}


def _of_named_tuple(schema: _Node) -> dict[str, Any]:
    names = [field["name"] for field in schema["fields"]]
    return {"type": "named-tuple", "names": names, "class": schema["cls"].__name__}


def _of_tagged_union(schema: _Node) -> dict[str, Any]:
    if not callable(schema["discriminator"]):
        return {}
    return {"type": "tagged-union", "callable": True}


def _of_model(schema: _Node) -> dict[str, Any]:
    note = _plain(_CONFIG, schema.get("config", {}))
    inner = schema["schema"]
    while inner["type"] != "model-fields" and "schema" in inner:
        inner = inner["schema"]
    fields = {
        name: field["validation_alias"]
        for name, field in inner.get("fields", {}).items()
        if "validation_alias" in field
    }
    if note.get("validate_by_name") or not all(isinstance(one, str) for one in fields.values()):
        note["aliases"] = fields
    return {"type": "model", **note} if note else {}


def _plain(names: tuple[str, ...], schema: _Node) -> dict[str, Any]:
    given = {name: schema[name] for name in names if schema.get(name) is not None}
    if given.get("microseconds_precision") == "truncate":
        del given["microseconds_precision"]
    return {name: _json(one) for name, one in given.items()}


def _json(value: Any) -> Any:
    if isinstance(value, timedelta):
        return value.total_seconds()
    return value if isinstance(value, bool | int | float | str | list) else str(value)
