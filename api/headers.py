"""The request headers that Headrace reads: their grammar, and nothing of what they cause."""

from __future__ import annotations

import itertools
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass

from api.problems import UnsupportedMediaType, invalid_input

#: An Idempotency-Key longer than this is refused; UUIDs have 36.
MAX_IDEMPOTENCY_KEY = 255

#: One element of a comma-separated list; a comma inside a quoted string parts nothing.
_ELEMENT = re.compile(r'(?:[^,"]|"(?:[^"\\]|\\.)*")+')
_QUOTED_KEY = re.compile(r'"((?:[\x20\x21\x23-\x5b\x5d-\x7e]|\\["\\])*)"')
_BARE_KEY = re.compile(r"[\x20\x21\x23-\x7e]+")
_REQUEST_ID = re.compile(rb"[A-Za-z0-9._:/+=@-]{1,128}")
#: An id of ours: a random half for the process, then a counter; a new random one each time costs.
_PROCESS = secrets.token_hex(8)
_COUNTER = itertools.count(secrets.randbits(32))
_TRACEPARENT = re.compile(
    rb"(?!ff)[0-9a-f]{2}-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}(?:-[\x21-\x7e]*)?"
)


@dataclass(frozen=True, slots=True)
class Preference:
    """What a `Prefer` header asks for, and what the answer says was applied."""

    wait_s: float = 0
    applied: str = ""


NO_PREFERENCE = Preference()


def parse_prefer(values: Iterable[bytes], limit_s: float) -> Preference:
    """Read `Prefer` (RFC 7240): `wait[=N]` up to the limit, `respond-async`; the rest is ignored.

    The first of a repeated preference counts; a malformed one is no preference.
    """
    found: dict[str, str] = {}
    for element in _ELEMENT.findall(b",".join(values).decode("latin-1")):
        name, _, value = element.partition(";")[0].partition("=")
        found.setdefault(name.strip().lower(), value.strip().strip('"'))
    wait_s = _wait_seconds(found["wait"], limit_s) if "wait" in found else None
    return _preference(wait_s, "respond-async" in found)


def _wait_seconds(value: str, limit_s: float) -> float | None:
    if not value:
        return limit_s
    # Longer digit strings than any clock holds are clamped like every other large one.
    if value.isascii() and value.isdigit():
        return min(float(value[:12]), limit_s)
    return None


def _preference(wait_s: float | None, asynchronous: bool) -> Preference:
    applied = ["respond-async"] if asynchronous else []
    if wait_s is not None:
        applied.append(f"wait={wait_s:g}")
    return Preference(wait_s or 0, ", ".join(applied)) if applied else NO_PREFERENCE


def parse_idempotency_key(value: bytes | None) -> str | None:
    """Return the key, bare or as a quoted string; both spellings are the same key."""
    if value is None:
        return None
    text = value.decode("latin-1").strip()
    if quoted := _QUOTED_KEY.fullmatch(text):
        key = re.sub(r"\\(.)", r"\1", quoted[1])
    else:
        key = text if _BARE_KEY.fullmatch(text) else ""
    if not 1 <= len(key) <= MAX_IDEMPOTENCY_KEY:
        message = f"Idempotency-Key should be 1 to {MAX_IDEMPOTENCY_KEY} printable ASCII characters"
        location = ["header", "idempotency-key"]
        raise invalid_input(
            [{"type": "idempotency_key", "loc": location, "msg": message, "input": text[:300]}]
        )
    return key


def request_id(value: bytes | None) -> str:
    """Return the client's X-Request-Id when it is safe to log, else a new one."""
    if value is not None and _REQUEST_ID.fullmatch(value):
        return value.decode("ascii")
    return f"{_PROCESS}{next(_COUNTER):016x}"


def traceparent(value: bytes | None) -> str | None:
    """Return a valid W3C traceparent; an invalid one is dropped, as the standard asks."""
    if value is None or not _TRACEPARENT.fullmatch(value) or len(value) > 512:
        return None
    if value.startswith(b"00") and len(value) != 55:
        return None
    return value.decode("ascii")


def require_json(content_type: bytes | None, content_encoding: bytes | None) -> None:
    """Refuse a body that is not plain JSON.

    A missing type is refused too: a page of another site can send one without a preflight.
    """
    if content_encoding is not None and content_encoding.strip().lower() not in (b"", b"identity"):
        raise UnsupportedMediaType(
            f"Content-Encoding {content_encoding.decode('latin-1')!r} is not read; "
            "send the body as it is."
        )
    if content_type == b"application/json":
        return
    given = (content_type or b"").decode("latin-1")
    media, _, parameters = given.partition(";")
    kind, _, subtype = media.strip().lower().partition("/")
    charset = parameters.lower().replace(" ", "").replace('"', "")
    is_json = kind == "application" and (subtype == "json" or subtype.endswith("+json"))
    if not is_json or ("charset=" in charset and "charset=utf-8" not in charset):
        raise UnsupportedMediaType(
            f"Content-Type is {given!r}; send JSON in UTF-8 with Content-Type: application/json."
            if given
            else "There is no Content-Type; send JSON with Content-Type: application/json."
        )
