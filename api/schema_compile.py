"""From a model's JSON Schema back to the pydantic-core schema that wrote it.

What core cannot say (`not`, `if`, `contains`, several `allOf`, ...) is marked by its place, and
`schema_residual` holds the input to it.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast
from urllib.parse import unquote

from pydantic_core import CoreSchema, core_schema

from api import schema_notes, schema_types
from api.schema_containers import Instance, array, class_name, model_or_dict
from api.schema_words import (
    BEYOND,
    BINDING,
    COMBINING,
    NOTE,
    REF_AND_NOTES,
    Pointer,
    Schema,
    says_more,
)

_NULL = {"type": "null"}
#: Written by classes that are not RootModels, and by references.
_CLASSES = ("model", "enum", "dataclass", "typed-dict", "definition-ref")


class InvalidSchema(ValueError):
    """A card's schema that no input can be checked against; the text says why."""


class Compiler:
    """One pass over one JSON Schema; read `definitions`, `marks` and `links` after `compile`."""

    def __init__(self, root: Schema) -> None:
        self._root = root
        self._targets: dict[Pointer, str] = {}
        self.definitions: list[CoreSchema] = []
        #: Places that core does not check.
        self.marks: set[Pointer] = set()
        #: Unions, and where each `$ref` leads: a mark inside a union's branch marks the union.
        self.unions: set[Pointer] = set()
        self.links: dict[Pointer, Pointer] = {}

    def compile(self) -> CoreSchema:
        """Return the core schema of the whole; recursion goes through `definitions`."""
        return self.node(self._root, (), defined=True)

    def node(self, node: Any, at: Pointer, *, defined: bool = False) -> CoreSchema:
        if not isinstance(node, Mapping):
            return self._boolean(node, at)
        self.marks.update((*at, keyword) for keyword in BEYOND.intersection(node))
        if NOTE in node and (noted := schema_notes.noted(self, node, at)) is not None:
            return noted
        return self.unnoted(node, at, defined=defined)

    def unnoted(self, node: Schema, at: Pointer, *, defined: bool = False) -> CoreSchema:
        """Return the core schema by the words of JSON Schema alone."""
        if "$ref" in node:
            return self._reference(node, at)
        if "allOf" in node:
            return self._all_of(node, at)
        return self._joined(node, at, defined=defined)

    def _joined(self, node: Schema, at: Pointer, *, defined: bool) -> CoreSchema:
        if "enum" in node or "const" in node:
            return self._closed_set(node, at, defined=defined)
        if "oneOf" in node and "discriminator" in node:
            tagged = self._tagged_union(node, at)
            if tagged is not None:
                return tagged
        for keyword in ("anyOf", "oneOf"):
            if keyword in node:
                return self._union(node, keyword, at)
        return self._typed(node, at)

    def _boolean(self, node: Any, at: Pointer) -> CoreSchema:
        if node is False:
            self.marks.add(at)
        return core_schema.any_schema()

    def _reference(self, node: Schema, at: Pointer) -> CoreSchema:
        self.leave(node, {*BINDING, *COMBINING, "type"}, at)
        target, found = self._resolve(node, at)
        if target not in self._targets:
            # Set before the target is compiled: it may contain itself.
            name = self._targets[target] = f"d{len(self._targets)}"
            inner = _root_model(self.node(found, target, defined=True), found, target)
            if inner["type"] == "definition-ref":
                inner = core_schema.json_or_python_schema(inner, inner)
            self.definitions.append({**inner, "ref": name})
        return core_schema.definition_reference_schema(self._targets[target])

    def _resolve(self, node: Schema, at: Pointer) -> tuple[Pointer, Any]:
        """Follow a `$ref`, and those that are nothing but a `$ref`, to a place and its schema."""
        found: Any = node
        seen: set[Pointer] = set()
        while at not in seen:
            seen.add(at)
            place, found = look_up(self._root, found["$ref"])
            self.links[at] = at = place
            if not isinstance(found, Mapping) or "$ref" not in found or set(found) - REF_AND_NOTES:
                return place, found
        raise InvalidSchema(f"$ref {node['$ref']!r} refers to itself")

    def _all_of(self, node: Schema, at: Pointer) -> CoreSchema:
        rest = {keyword: value for keyword, value in node.items() if keyword != "allOf"}
        if len(node["allOf"]) == 1 and not says_more(rest):
            return self.node(node["allOf"][0], (*at, "allOf", 0))
        self.marks.add((*at, "allOf"))
        return self.node(rest, at)

    def _closed_set(self, node: Schema, at: Pointer, *, defined: bool) -> CoreSchema:
        keyword = "enum" if "enum" in node else "const"
        values = node["enum"] if keyword == "enum" else [node["const"]]
        # Pydantic writes an Enum as a titled definition, a Literal in place.
        name = node["title"] if defined and keyword == "enum" and "title" in node else None
        schema = schema_types.closed_set(list(values), name)
        rest = (set(node) & (BINDING | COMBINING | {"const"})) - {keyword}
        self.leave(node, rest if schema else rest | {keyword}, at)
        return schema or core_schema.any_schema()

    def _tagged_union(self, node: Schema, at: Pointer) -> CoreSchema | None:
        key = node["discriminator"].get("propertyName")
        choices: dict[Any, CoreSchema] = {}
        for index, branch in enumerate(node["oneOf"]):
            tags = self._tags(branch, key, (*at, "oneOf", index))
            if not tags or not choices.keys().isdisjoint(tags):
                return None
            schema = self.node(branch, (*at, "oneOf", index))
            choices.update(dict.fromkeys(tags, schema))
        self.unions.add((*at, "oneOf"))
        return core_schema.tagged_union_schema(choices, key)

    def _tags(self, branch: Any, key: str, at: Pointer) -> list[Any]:
        """Return the values of the discriminating property that lead to this branch."""
        if isinstance(branch, Mapping) and "$ref" in branch:
            at, branch = self._resolve(branch, at)
        if not isinstance(branch, Mapping):
            return []
        if "oneOf" in branch:
            inner = enumerate(branch["oneOf"])
            return [tag for i, one in inner for tag in self._tags(one, key, (*at, "oneOf", i))]
        said = branch.get("properties", {}).get(key, {})
        if isinstance(said, Mapping) and "$ref" in said:
            said = self._resolve(said, (*at, "properties", key))[1]
        if not isinstance(said, Mapping):
            return []
        tags: list[Any] = said.get("enum", [said["const"]] if "const" in said else [])
        return tags

    def _union(self, node: Schema, keyword: str, at: Pointer) -> CoreSchema:
        rest = {word: value for word, value in node.items() if word != keyword}
        if keyword == "oneOf" or says_more(rest):
            self.marks.add((*at, keyword))
        if says_more(rest):
            return self.node(rest, at)
        self.unions.add((*at, keyword))
        branches = list(enumerate(node[keyword]))
        choices = [
            self.node(branch, (*at, keyword, index))
            for index, branch in branches
            if branch != _NULL
        ]
        return _either(choices, nullable=len(choices) < len(branches))

    def _typed(self, node: Schema, at: Pointer) -> CoreSchema:
        kind = node.get("type")
        if isinstance(kind, list):
            choices = [self._typed({**node, "type": one}, at) for one in kind if one != "null"]
            return _either(choices, nullable="null" in kind)
        if kind is None:
            self.leave(node, set(BINDING), at)
            return core_schema.any_schema()
        if kind in ("object", "array"):
            build = model_or_dict if kind == "object" else array
            return build(self, node, at)
        return self._scalar(kind, node, at)

    def _scalar(self, kind: str, node: Schema, at: Pointer) -> CoreSchema:
        if kind == "string":
            if node.get("contentMediaType") == "application/json" and "contentSchema" in node:
                return core_schema.json_schema(
                    self.node(node["contentSchema"], (*at, "contentSchema"))
                )
            if not schema_types.asserts_format(node):
                self.marks.add((*at, "format"))
            return schema_types.string(node)
        if kind == "integer":
            if node.get("multipleOf", 1) % 1:
                self.marks.add((*at, "multipleOf"))
            return schema_types.integer(node)
        if kind == "number":
            return schema_types.number(node)
        return core_schema.bool_schema() if kind == "boolean" else core_schema.none_schema()

    def leave(self, node: Schema, keywords: set[str], at: Pointer) -> None:
        self.marks.update((*at, keyword) for keyword in keywords if keyword in node)


def look_up(root: Schema, reference: str) -> tuple[Pointer, Any]:
    """Return the place and the schema that a `$ref` names."""
    if reference != "#" and not reference.startswith("#/"):
        raise InvalidSchema(f"$ref {reference!r} leads out of the schema; only '#/...' is known")
    found: Any = root
    place: list[str | int] = []
    for part in unquote(reference).split("/")[1:]:
        key: str | int = part.replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and part.isdigit():
            key = int(part)
        try:
            found = found[key]
        except (KeyError, IndexError, TypeError):
            raise InvalidSchema(f"$ref {reference!r} leads nowhere") from None
        place.append(key)
    return tuple(place), found


def _either(choices: list[CoreSchema], *, nullable: bool) -> CoreSchema:
    if not choices:
        return core_schema.none_schema()
    schema = choices[0] if len(choices) == 1 else core_schema.union_schema(list(choices))
    return core_schema.nullable_schema(schema) if nullable else schema


def _root_model(inner: CoreSchema, node: Any, at: Pointer) -> CoreSchema:
    """Wrap a titled definition that is neither a model nor an Enum: a RootModel wrote it."""
    titled = isinstance(node, Mapping) and "title" in node and at[:-1] in (("$defs",),)
    said = cast("dict[str, Any]", inner)
    while said.get("metadata", {}).get("named"):
        said = said["schema"]
    if not titled or said["type"] in _CLASSES:
        return inner
    made = type(class_name(at, node), (Instance,), {"__slots__": ()})
    return core_schema.model_schema(made, inner, root_model=True)
