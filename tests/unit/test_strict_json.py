"""What a request body must not hold, and what its sender is told."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import strict_json
from jobs.errors import MalformedRequest

REFUSED = [
    (b"", "The body is empty"),
    (b" \n\t", "The body is empty"),
    (b"[1]", "The body is an array"),
    (b'"text"', "The body is a string"),
    (b"3", "The body is a number"),
    (b"null", "The body is null"),
    (b"true", "The body is true or false"),
    (b'{"a": NaN}', "NaN at line 1, column 7 is not a number"),
    (b'{"a":\n [1, Infinity]}', "Infinity at line 2, column 6 is not a number"),
    (b'{"a": -Infinity}', "Infinity at line 1, column 8 is not a number"),
    (b'{"a": 1e400}', "too large for a 64-bit float, at line 1, column 7"),
    (b'{"a": -1e400}', "too large for a 64-bit float"),
    (b'{"a": ' + b"1" * 5000 + b"}", "too large for a 64-bit float"),
    (b'{"a": "\\ud800"}', "lone surrogate, at line 1, column 8"),
    (b'{"a": "\\ud800\\u0041"}', "lone surrogate"),
    (b'{"a": "\\udc00x"}', "lone surrogate"),
    (b'{"\\ud800": 1}', "lone surrogate"),
    (b'{"a": "\xff"}', "byte 7 (0xff) is invalid"),
    (b'{"a": "\xed\xa0\x80"}', "byte 7 (0xed) is invalid"),
    (b"\xef\xbb\xbf{}", "begins with a byte order mark"),
    (b"{} {}", "something after the end"),
    (b'{"a": 1', "ends in the middle"),
    (b'{"a": "x', "ends in the middle"),
    (b'{"a": 1,}', "trailing comma"),
    (b"{'a': 1}", "expected a string key, at line 1, column 2"),
    (b'{"a": 01}', "leading zero"),
    (b'{"a": "\x01"}', "control character"),
    (b'{"a": 1, "a": 2}', "The key 'a' appears twice in the object at $."),
    (b'{"a": 1, "\\u0061": 2}', "The key 'a' appears twice"),
    (b'{"a": [{"b": {"c": 1, "d": 2, "c": 3}}]}', "'c' appears twice in the object at $.a[0].b."),
    (b'{"a": {"x": 1, "x": 2}, "a": 1}', "'a' appears twice in the object at $."),
    (b'{"a": "x\\u003ay", "a": "z"}', "'a' appears twice"),
    (b'{"a": ' + b"[" * 32 + b"]" * 32 + b"}", "nested deeper than 32 levels"),
    (b'{"a": ' + b"[" * 500_000 + b"]" * 500_000 + b"}", "nested deeper than 32 levels"),
    (b'{"a":' * 33 + b"1" + b"}" * 33, "nested deeper than 32 levels"),
]

TAKEN = [
    b"{}",
    b' {"a" : 1e308 } \n',
    b'{"a": "\\ud83d\\ude00 \\u003a : \\" \\\\", "b": ":"}',
    b'{"a": 12345678901234567890123, "b": 1e-400}',
    b'{"a": ' + b"[" * 31 + b"]" * 31 + b"}",
    b'{"a": "' + b"[{" * 40 + b'"}',
    b'{"a": "\\"' + b"[" * 40 + b'\\\\"}',
    b'{"a": [' + b",".join([b'{"b": []}'] * 40) + b"]}",
]


@pytest.mark.parametrize(("body", "said"), REFUSED, ids=[said for _, said in REFUSED])
def test_refused_with_its_reason(body: bytes, said: str) -> None:
    with pytest.raises(MalformedRequest) as refused:
        strict_json.check(body)
    assert said in refused.value.detail


@pytest.mark.parametrize("body", TAKEN, ids=range(len(TAKEN)))
def test_taken(body: bytes) -> None:
    assert set(strict_json.parse(body)) == set(json.loads(body))


_documents = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text() | st.floats(-1e9, 1e9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), _documents), st.booleans())
def test_every_plain_document_is_taken(document: dict[str, object], ascii_only: bool) -> None:
    body = json.dumps(document, ensure_ascii=ascii_only).encode()
    assert strict_json.parse(body) == document


@given(st.text(), _documents, _documents, st.booleans())
def test_every_repeated_key_is_found(
    key: str, first: object, second: object, ascii_only: bool
) -> None:
    pairs = ", ".join(
        f"{json.dumps(name, ensure_ascii=ascii_only)}: {json.dumps(value)}"
        for name, value in ((key, first), (key + "!", 1), (key, second))
    )
    with pytest.raises(MalformedRequest, match="appears twice"):
        strict_json.check(f'{{"input": {{{pairs}}}}}'.encode())
