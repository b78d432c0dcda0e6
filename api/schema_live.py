"""From the core schema of a model to one that checks a document which is already parsed.

The same types, errors and places as strict validation of the JSON text. Checking Python objects
costs less, and an error then refers to its input: core copies the JSON of a whole object into each
of its errors, which lets a body of 1 MiB stop a server for seconds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast, get_args

from pydantic_core import (
    CoreSchema,
    PydanticCustomError,
    PydanticKnownError,
    SchemaValidator,
    ValidationError,
    core_schema,
    to_json,
)

_Node = dict[str, Any]

_ERROR_TYPES = frozenset(get_args(core_schema.ErrorType))
#: Strict, these take from Python objects exactly what they take from JSON.
_STRICT = frozenset(("str", "int", "float", "bool"))
#: These need no strictness: they take from lists, dicts and scalars what they take from JSON.
_SAME = frozenset(("any", "none", "literal", "enum", "definition-ref"))
#: An enum of these also takes their text from Python objects.
_NUMBERS = ("int", "float")
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
    "typed-dict": ("extras_schema",),
    "typed-dict-field": ("schema",),
    "dataclass": ("schema",),
    "dataclass-args": (),
    "dataclass-field": ("schema",),
}
#: Their names are those of their classes, whatever is inside.
_NAMED = frozenset(("model", "dataclass", "typed-dict"))
#: Keys that JSON and Python have alike.
_KEYS = ("str", "literal")
#: Leaves that contain other schemas.
_REFERRING = frozenset(("json", "deque", "generator", "named-tuple"))
_MANY = ("list", "set", "frozenset", "tuple", "dict")


class Live:
    """Turns the schemas of one compilation; `fail_fast` stops each list at its first error."""

    def __init__(self, definitions: list[CoreSchema], *, fail_fast: bool = False) -> None:
        self._written = definitions
        self._by_ref = {one["ref"]: one for one in cast("list[_Node]", definitions)}
        self._fail_fast = fail_fast
        self.definitions = [self.schema(one) for one in definitions]

    def schema(self, written: CoreSchema) -> CoreSchema:
        """Return the schema that checks parsed documents as `written` checks strict JSON."""
        return cast("CoreSchema", self._turn(cast("_Node", written)))

    def _turn(self, node: _Node) -> _Node:
        kind = node["type"]
        if kind in _STRICT:
            return {**node, "strict": True}
        if kind in _SAME and node.get("sub_type") not in _NUMBERS:
            return node
        if node.get("metadata", {}).get("named"):
            return self._unnamed(node)
        turned = self._turned(kind, node)
        if turned is None:
            return self._leaf(node)
        if self._fail_fast and kind in _MANY:
            turned["fail_fast"] = True
        return turned

    def _unnamed(self, node: _Node) -> _Node:
        """Drop what only gave a name: the author's own validator, which the engine runs."""
        turned = self._turn(node["schema"])
        if "ref" not in node:
            return turned
        if turned["type"] == "definition-ref":
            turned = {"type": "json-or-python", "json_schema": turned, "python_schema": turned}
        return {**turned, "ref": node["ref"]}

    def _turned(self, kind: str, node: _Node) -> _Node | None:
        """Return the container with its content turned, or None for what is no container."""
        if kind == "union":
            return {**node, "choices": [self._choice(one) for one in node["choices"]]}
        if kind == "tagged-union":
            choices = {tag: self._turn(one) for tag, one in node["choices"].items()}
            # Strict JSON calls what is no object no dictionary; attributes are not looked at.
            return {**node, "choices": choices, "from_attributes": False}
        if kind == "tuple":
            return {**node, "items_schema": [self._turn(one) for one in node["items_schema"]]}
        if kind not in _INSIDE:
            return None
        inside: _Node = {key: self._turn(node[key]) for key in _INSIDE[kind] if key in node}
        if kind in ("model-fields", "typed-dict"):
            inside["fields"] = {name: self._turn(one) for name, one in node["fields"].items()}
        if kind == "dataclass-args":
            inside["fields"] = [self._turn(one) for one in node["fields"]]
        if kind == "dict" and node["keys_schema"]["type"] not in _KEYS:
            inside["keys_schema"] = self._key(node["keys_schema"])
        return {**node, **inside}

    def _choice(self, node: _Node) -> _Node | tuple[_Node, str]:
        """A choice is named in the places of its errors: keep the name its own validator has."""
        turned = self._turn(node)
        return (turned, self._title(node)) if self._shows_leaf(node) else turned

    def _title(self, node: _Node) -> str:
        return SchemaValidator(self._whole(node)).title

    def _whole(self, node: _Node) -> CoreSchema:
        written = cast("CoreSchema", node)
        if not self._written:
            return written
        return core_schema.definitions_schema(written, self._written)

    def _shows_leaf(self, node: _Node, seen: frozenset[str] = frozenset()) -> bool:
        """Tell whether the validator's name would show that a leaf in it was replaced."""
        kind = node["type"]
        if kind == "definition-ref":
            name = node["schema_ref"]
            return name not in seen and self._shows_leaf(self._by_ref[name], seen | {name})
        if kind in _NAMED or kind in _STRICT:
            return False
        if kind in _SAME:
            return node.get("sub_type") in _NUMBERS
        if kind not in _INSIDE and kind not in ("tuple", "union", "tagged-union"):
            return True
        if kind == "dict" and node["keys_schema"]["type"] not in _KEYS:
            return True
        inner = list(node.get("items_schema", ())) if kind == "tuple" else []
        inner += node["choices"] if kind == "union" else []
        inner += node["choices"].values() if kind == "tagged-union" else []
        inner += [node[key] for key in _INSIDE.get(kind, ()) if key in node]
        return any(self._shows_leaf(one, seen) for one in inner)

    def _leaf(self, node: _Node) -> _Node:
        """Check a value of any other type as the JSON that it was."""
        written = self._whole(node) if node["type"] in _REFERRING else cast("CoreSchema", node)
        config = node.get("metadata", {}).get("config") or core_schema.CoreConfig()
        check = SchemaValidator(written, config).validate_json

        def validate(value: Any) -> Any:
            return check(to_json(value), strict=True)

        return _plain(validate, node)

    def _key(self, node: _Node) -> _Node:
        """Check a key as JSON's: always text there, and read as a number where one is wanted."""
        keyed = core_schema.dict_schema(cast("CoreSchema", node), core_schema.any_schema())
        check = SchemaValidator(self._whole(cast("_Node", keyed))).validate_json

        def validate(key: str) -> str:
            try:
                check(to_json({key: None}), strict=True)
            except ValidationError as error:
                raise _as_raised(error) from error
            return key

        return _plain(validate, {})


def _plain(function: Callable[[Any], Any], node: _Node) -> _Node:
    plain = cast("_Node", core_schema.no_info_plain_validator_function(function))
    return {**plain, "ref": node["ref"]} if "ref" in node else plain


def _as_raised(error: ValidationError) -> Exception:
    """Return the first error without its place: the place is the key's."""
    line = error.errors(include_url=False)[0]
    context = line.get("ctx", {})
    if line["type"] in _ERROR_TYPES:
        return PydanticKnownError(cast("Any", line["type"]), context)
    return PydanticCustomError(cast("Any", line["type"]), cast("Any", line["msg"]), context)
