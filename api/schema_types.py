"""The leaves of a JSON Schema as pydantic-core schemas: numbers, strings, formats, closed sets."""

from __future__ import annotations

import enum
import math
import re
from collections.abc import Mapping
from datetime import date, datetime, time, timedelta
from functools import lru_cache
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from pathlib import Path
from typing import Annotated, Any
from uuid import UUID

from pydantic import (
    AnyUrl,
    Base64Bytes,
    Base64UrlBytes,
    EmailStr,
    Field,
    HttpUrl,
    IPvAnyAddress,
    IPvAnyInterface,
    IPvAnyNetwork,
    NameEmail,
    SecretStr,
    TypeAdapter,
)
from pydantic.errors import PydanticUserError
from pydantic.types import UuidVersion
from pydantic_core import CoreSchema, SchemaError, SchemaValidator, core_schema

from api.schema_words import Schema

#: A format that Pydantic writes, and the type that writes it. A file or folder need not exist on
#: the machine of the API, so their formats are paths.
FORMATS: dict[str, Any] = {
    "base64": Base64Bytes,
    "base64url": Base64UrlBytes,
    "binary": bytes,
    "date": date,
    "date-time": datetime,
    "directory-path": Path,
    "duration": timedelta,
    "email": EmailStr,
    "file-path": Path,
    "ipv4": IPv4Address,
    "ipv4interface": IPv4Interface,
    "ipv4network": IPv4Network,
    "ipv6": IPv6Address,
    "ipv6interface": IPv6Interface,
    "ipv6network": IPv6Network,
    "ipvanyaddress": IPvAnyAddress,
    "ipvanyinterface": IPvAnyInterface,
    "ipvanynetwork": IPvAnyNetwork,
    "name-email": NameEmail,
    "path": Path,
    "regex": re.Pattern,
    "time": time,
    "uuid": UUID,
    **{
        f"uuid{version}": Annotated[UUID, UuidVersion(version)] for version in (1, 3, 4, 5, 6, 7, 8)
    },
}

#: Formats of JSON Schema that no Pydantic type asserts.
OTHER_FORMATS = frozenset(
    (
        *("hostname", "idn-email", "idn-hostname", "iri", "iri-reference"),
        *("json-pointer", "relative-json-pointer", "uri-reference", "uri-template"),
    )
)

#: The length that Pydantic gives to HttpUrl and to no other type.
_HTTP_URL_LENGTH = 2083

_STRING_WORDS = {"minLength": "min_length", "maxLength": "max_length", "pattern": "pattern"}
_NUMBER_WORDS = {
    "minimum": "ge",
    "exclusiveMinimum": "gt",
    "maximum": "le",
    "exclusiveMaximum": "lt",
    "multipleOf": "multiple_of",
}
_Scalar = str | int | float | bool | None


def string(node: Schema) -> CoreSchema:
    """Return the schema of a string with its length, pattern and, if Pydantic knows it, format."""
    words = {ours: node[theirs] for theirs, ours in _STRING_WORDS.items() if theirs in node}
    known = _formatted(node, words)
    if known is not None:
        return known
    if "pattern" in words:
        words["pattern"] = _compiled(words["pattern"])
    return core_schema.str_schema(**words)


def asserts_format(node: Schema) -> bool:
    """Tell whether `string` asserts the format of this node (or there is none to assert)."""
    name = node.get("format")
    if name in OTHER_FORMATS:
        return False
    words = {ours: node[theirs] for theirs, ours in _STRING_WORDS.items() if theirs in node}
    return name not in (*FORMATS, "uri") or _formatted(node, words) is not None


def integer(node: Schema) -> CoreSchema:
    """Return the schema of an integer; bounds that are not whole are moved to the next that is."""
    words: dict[str, Any] = {}
    for theirs, ours in _NUMBER_WORDS.items():
        if theirs in node and not (ours == "multiple_of" and node[theirs] % 1):
            up = theirs in ("minimum", "exclusiveMaximum")
            words[ours] = math.ceil(node[theirs]) if up else math.floor(node[theirs])
    return core_schema.int_schema(**words)


def number(node: Schema) -> CoreSchema:
    """Return the schema of a float."""
    words = {ours: node[theirs] for theirs, ours in _NUMBER_WORDS.items() if theirs in node}
    return core_schema.float_schema(**words)


def closed_set(values: list[Any], enum_name: str | None) -> CoreSchema | None:
    """Return a literal, or an enum of that name; None for values that are not scalars."""
    if not values or not all(isinstance(value, _Scalar) for value in values):
        return None
    if enum_name is None:
        return core_schema.literal_schema(values)
    members = [(f"m{index}", value) for index, value in enumerate(values)]
    made = enum.Enum(enum_name, members)  # type: ignore[misc]
    return core_schema.enum_schema(made, list(made.__members__.values()))


def _formatted(node: Schema, words: Mapping[str, Any]) -> CoreSchema | None:
    name = node.get("format")
    if name == "uri":
        return _uri(words)
    if name == "multi-host-uri":
        return core_schema.multi_host_url_schema(max_length=words.get("max_length"))
    if name == "password" and node.get("writeOnly"):
        return adapted(SecretStr, tuple(sorted(words.items())))
    if name not in FORMATS:
        return None
    return adapted(FORMATS[name], tuple(sorted(words.items())))


def _uri(words: Mapping[str, Any]) -> CoreSchema | None:
    if "pattern" in words or words.get("min_length", 1) != 1:
        return None
    longest = words.get("max_length")
    if longest == _HTTP_URL_LENGTH:
        return adapted(HttpUrl, ())
    return adapted(AnyUrl, () if longest is None else (("max_length", longest),))


@lru_cache(maxsize=512)
def adapted(python_type: Any, words: tuple[tuple[str, Any], ...]) -> CoreSchema | None:
    """Return the schema of a Python type with constraints, if it can have them."""
    try:
        constrained: Any = Annotated[python_type, Field(**dict(words))] if words else python_type
        return TypeAdapter(constrained).core_schema
    except (PydanticUserError, SchemaError, TypeError):
        # Pydantic has no such constraint on this type: JSON Schema's own rules are left to hold.
        return None


def _compiled(pattern: str) -> str | re.Pattern[str]:
    """Keep what Rust's engine takes; lookarounds and back references need Python's."""
    try:
        SchemaValidator(core_schema.str_schema(pattern=pattern))
    except SchemaError:
        return re.compile(pattern)
    return pattern
