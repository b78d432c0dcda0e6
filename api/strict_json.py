"""Reading a request body as JSON without any of the guesses that JSON parsers make.

Refused, each with a sentence of its own: bytes that are not UTF-8, NaN and Infinity, numbers that
overflow a double, keys that appear twice, lone surrogates, deep nesting, anything after the
document, and documents that are not an object.
"""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import orjson

from jobs.errors import MalformedRequest

__all__ = ["MAX_DEPTH", "MalformedRequest", "check", "parse"]

#: Containers inside one another; the outermost object counts as one.
MAX_DEPTH = 32

_BRACKETS_ALIKE = bytes.maketrans(b"{}", b"[]")
_NOT_BRACKETS = bytes(sorted(set(range(256)) - set(b"[]{}")))
_NOT_NUMBERS = ("NaN", "Infinity")
_SENTENCES = {
    "UTF-8 byte order mark (BOM) is not supported": "the body begins with a byte order mark",
    "depth limit exceeded": f"the body is nested deeper than {MAX_DEPTH} levels",
    "number is infinity when parsed as double": "the number is too large for a 64-bit float",
    "no low surrogate in string": "the string holds a lone surrogate",
    "invalid low surrogate in string": "the string holds a lone surrogate",
    "invalid high surrogate in string": "the string holds a lone surrogate",
    "unexpected content after document": "there is something after the end of the JSON document",
    "unexpected end of data": "the body ends in the middle of the JSON document",
}


def check(body: bytes) -> None:
    """Raise MalformedRequest unless `body` is one strict JSON object."""
    parse(body)


def parse(body: bytes) -> dict[str, Any]:
    """Return the JSON object in `body`; MalformedRequest says what is wrong with it, and where."""
    if not body or body.isspace():
        raise MalformedRequest("The body is empty; a JSON object was expected.")
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise MalformedRequest(_explain(body, error)) from error
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH and _deeper_than(body, MAX_DEPTH):
        raise MalformedRequest(f"The body is nested deeper than {MAX_DEPTH} levels.")
    if not isinstance(document, dict):
        raise MalformedRequest(
            f"The body is {_kind(document)}; a JSON object was expected at its top."
        )
    # Each key-value pair has one colon of its own and a lost pair takes its colon with it, so equal
    # counts before and after prove that no pair was lost. Only an escaped colon could hide one.
    if b"\\u003" in body or body.count(b":") != orjson.dumps(document).count(b":"):
        _refuse_duplicates(body)
    return document


def _deeper_than(body: bytes, limit: int) -> bool:
    """Tell whether brackets of valid JSON nest deeper than `limit`: each round peels one level."""
    unescaped = body.replace(b"\\\\", b"").replace(b'\\"', b"") if b"\\" in body else body
    outside_strings = b"".join(unescaped.split(b'"')[::2])
    brackets = outside_strings.translate(_BRACKETS_ALIKE, _NOT_BRACKETS)
    for _ in range(limit):
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return False
    return True


class _Duplicated(dict[str, Any]):
    """An object in which a key came twice."""

    key: str = ""


def _refuse_duplicates(body: bytes) -> None:
    found = False

    def keep(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        nonlocal found
        kept = dict(pairs)
        if len(kept) == len(pairs):
            return kept
        found = True
        marked = _Duplicated(kept)
        marked.key = Counter(key for key, _ in pairs).most_common(1)[0][0]
        return marked

    document = json.loads(body, object_pairs_hook=keep)
    if found:
        path, key = _find_duplicate(document)
        raise MalformedRequest(f"The key {key!r} appears twice in the object at {path}.")


def _find_duplicate(document: Any) -> tuple[str, str]:
    waiting: list[tuple[str, Any]] = [("$", document)]
    while waiting:
        path, value = waiting.pop()
        if isinstance(value, _Duplicated):
            return path, value.key
        if isinstance(value, dict):
            waiting.extend((f"{path}.{key}", inner) for key, inner in value.items())
        elif isinstance(value, list):
            waiting.extend((f"{path}[{index}]", inner) for index, inner in enumerate(value))
    raise AssertionError("a marked object is reachable: what holds a lost one is marked itself")


def _explain(body: bytes, error: orjson.JSONDecodeError) -> str:
    try:
        body.decode()
    except UnicodeDecodeError as wrong:
        return f"The body is not UTF-8: byte {wrong.start} (0x{body[wrong.start]:02x}) is invalid."
    where = f"at line {error.lineno}, column {error.colno}"
    rest = error.doc[error.pos : error.pos + 9]
    for name in _NOT_NUMBERS:
        if rest.startswith((name, f"-{name}")):
            return f"The body is not JSON: {name} {where} is not a number in JSON."
    return f"The body is not JSON: {_SENTENCES.get(error.msg, error.msg)}, {where}."


def _kind(document: Any) -> str:
    if isinstance(document, list):
        return "an array"
    if isinstance(document, str):
        return "a string"
    if document is None:
        return "null"
    return "true or false" if isinstance(document, bool) else "a number"
