"""The grammar of the request headers that Headrace reads."""

from __future__ import annotations

import pytest

from api.headers import (
    NO_PREFERENCE,
    parse_idempotency_key,
    parse_prefer,
    request_id,
    require_json,
    traceparent,
)
from api.problems import UnsupportedMediaType
from jobs.errors import InvalidInput

TRACE = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


@pytest.mark.parametrize(
    ("given", "wait_s", "applied"),
    [
        ([b"wait"], 60, "wait=60"),
        ([b"wait=10"], 10, "wait=10"),
        ([b'wait="7"'], 7, "wait=7"),
        ([b"Wait = 3"], 3, "wait=3"),
        ([b"wait=999999999999999999999"], 60, "wait=60"),
        ([b"wait=0"], 0, "wait=0"),
        ([b"respond-async"], 0, "respond-async"),
        ([b"respond-async, wait=5"], 5, "respond-async, wait=5"),
        ([b"wait=5", b"respond-async"], 5, "respond-async, wait=5"),
        ([b"wait=5; foo=bar, handling=lenient"], 5, "wait=5"),
        ([b"wait=5, wait=50"], 5, "wait=5"),
        ([b'foo="a, wait=9", wait=2'], 2, "wait=2"),
    ],
)
def test_a_preference_is_read_and_clamped(given: list[bytes], wait_s: float, applied: str) -> None:
    preference = parse_prefer(given, 60)
    assert (preference.wait_s, preference.applied) == (wait_s, applied)


@pytest.mark.parametrize(
    "given",
    [b"", b",,", b"wait=abc", b"wait=-1", b"wait=1.5", "wait=٣".encode(), b"return=minimal", b'"'],
)
def test_what_is_malformed_or_unknown_is_no_preference(given: bytes) -> None:
    assert parse_prefer([given], 60) == NO_PREFERENCE


@pytest.mark.parametrize(
    ("given", "key"),
    [
        (None, None),
        (b"abc", "abc"),
        (b'"abc"', "abc"),
        (b'"a\\"b\\\\c"', 'a"b\\c'),
        (b"8e03978e-40d5-43dd-bc93-6894a57f9324", "8e03978e-40d5-43dd-bc93-6894a57f9324"),
        (b'"with space"', "with space"),
        (b"x" * 255, "x" * 255),
    ],
)
def test_a_key_is_the_same_bare_or_quoted(given: bytes | None, key: str | None) -> None:
    assert parse_idempotency_key(given) == key


@pytest.mark.parametrize(
    "given", [b"", b'""', b"x" * 256, b'"open', b'a"b"', b"caf\xe9", b"a\tb", b'"a" "b"']
)
def test_a_bad_key_is_refused_by_name(given: bytes) -> None:
    with pytest.raises(InvalidInput) as refused:
        parse_idempotency_key(given)
    assert refused.value.members["errors"][0]["loc"] == ["header", "idempotency-key"]


def test_a_safe_request_id_is_kept_and_any_other_replaced() -> None:
    assert request_id(b"req-1/a:b") == "req-1/a:b"
    made = {request_id(given) for given in (None, b"", b"a b", b"x" * 129, b"\n", b'"}{')}
    assert len(made) == 6
    assert all(len(one) == 32 for one in made)


@pytest.mark.parametrize(
    "given",
    [
        None,
        b"",
        TRACE.replace(b"00-", b"ff-", 1),
        TRACE.upper(),
        TRACE + b"-more",
        b"00-" + b"0" * 32 + TRACE[35:],
        TRACE[:36] + b"0" * 16 + b"-01",
        b"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01x",
        b"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-\xff",
        b"01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-a b",
    ],
)
def test_an_invalid_traceparent_is_dropped(given: bytes | None) -> None:
    assert traceparent(given) is None


@pytest.mark.parametrize("given", [TRACE, TRACE.replace(b"00-", b"01-", 1) + b"-more"])
def test_a_valid_traceparent_is_kept(given: bytes) -> None:
    assert traceparent(given) == given.decode()


@pytest.mark.parametrize(
    "given",
    [
        b"application/json",
        b"application/json; charset=utf-8",
        b'Application/JSON;charset="UTF-8"',
        b"application/vnd.a+json",
    ],
)
def test_json_is_taken(given: bytes) -> None:
    require_json(given, None)
    require_json(given, b"identity")


@pytest.mark.parametrize(
    ("kind", "encoding"),
    [
        (None, None),
        (b"", None),
        (b"text/plain", None),
        (b"application/x-www-form-urlencoded", None),
        (b"application/json; charset=latin-1", None),
        (b"application/jsonx", None),
        (b"application/json", b"gzip"),
    ],
)
def test_anything_else_is_refused(kind: bytes | None, encoding: bytes | None) -> None:
    with pytest.raises(UnsupportedMediaType):
        require_json(kind, encoding)
