"""An answer may be huge, slow, broken or no HTTP: it costs little, and its status counts."""

from __future__ import annotations

import asyncio
import gzip
import time

import pytest

from egress.answers import MOST_KEPT, MOST_READ
from egress.connect import Answer, CallFailed, EgressClient

from .calls import LOOPBACK, at, eventually, failure, post
from .receivers import CHUNKED, LARGE, always, endless, ok, once, receiving, resetting


async def test_a_header_that_is_no_text_becomes_text() -> None:
    location = b"Location: /\xff" + b"x" * 4000
    async with receiving(always(ok(b"", location, status=b"302 Found"))) as receiver:
        kept = (await post(at(receiver))).headers["location"]
    assert kept.startswith("/\ufffdxxx")
    assert len(kept) == 1024


@pytest.mark.parametrize(
    ("head", "piece"), [(LARGE, b"x" * 65536), (CHUNKED, b"10000\r\n" + b"x" * 65536 + b"\r\n")]
)
async def test_of_a_huge_answer_little_is_read_and_the_rest_refused(
    head: bytes, piece: bytes
) -> None:
    async with receiving(endless(head, piece)) as receiver, EgressClient(LOOPBACK) as client:
        answer = await client.post(at(receiver), b"", {})
        # The connection is closed though the client lives on.
        await eventually(lambda: receiver.open == 0)
    assert (answer.status, answer.read) == (200, MOST_READ)
    assert answer.body == b"x" * MOST_KEPT
    assert receiver.sent < 8_000_000


async def test_an_answer_is_not_inflated() -> None:
    bomb = gzip.compress(bytes(10_000_000))
    assert MOST_KEPT < len(bomb) < MOST_READ
    async with receiving(always(ok(bomb, b"Content-Encoding: gzip"))) as receiver:
        answer = await post(at(receiver))
    assert (answer.read, answer.body) == (len(bomb), bomb[:MOST_KEPT])


async def test_a_head_that_drips_has_the_time_of_the_whole_call() -> None:
    drip = endless(b"HTTP/1.1 200 OK\r\n", b"x: y\r\n", 0.01)
    async with receiving(drip) as receiver:
        began = time.monotonic()
        failed = await failure(post(at(receiver), timeout_s=0.3))
        assert (failed.kind, time.monotonic() - began < 2) == ("timeout", True)
        await eventually(lambda: receiver.open == 0)


@pytest.mark.parametrize("pause_s", [0.01, 60])
async def test_a_status_that_came_counts_though_the_body_drips(pause_s: float) -> None:
    async with receiving(endless(LARGE + b"start", b"x", pause_s)) as receiver:
        # Time enough for the head, also where the process is held up meanwhile.
        answer = await post(at(receiver), timeout_s=1.5)
        assert (answer.status, answer.body[:5]) == (200, b"start")
        assert 1.45 < answer.seconds < 3.2


@pytest.mark.parametrize(
    "broken",
    [
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        CHUNKED + b"5\r\nshort\r\n",
    ],
)
async def test_a_status_that_came_counts_though_the_body_breaks(broken: bytes) -> None:
    async with receiving(once(broken)) as receiver:
        answer = await post(at(receiver))
    assert (answer.status, answer.body) == (200, b"short")


async def test_a_body_that_turns_to_nonsense_is_no_error_of_the_library() -> None:
    nonsense = endless(CHUNKED + b"5\r\nshort\r\n", b"nonsense\r\n", 0.02)
    async with receiving(nonsense) as receiver:
        outcomes = await asyncio.gather(post(at(receiver)), return_exceptions=True)
    # A protocol failure where the nonsense came in one packet with the head.
    (outcome,) = outcomes
    assert getattr(outcome, "kind", "protocol") == "protocol"
    assert getattr(outcome, "body", b"short") == b"short"
    assert isinstance(outcome, Answer | CallFailed)


async def test_hundreds_of_hints_are_no_answer() -> None:
    async with receiving(endless(b"", b"HTTP/1.1 103 Hints\r\n\r\n")) as receiver:
        assert (await failure(post(at(receiver), timeout_s=0.3))).kind == "timeout"


@pytest.mark.parametrize(
    "garbage",
    [
        b"hello, who are you?\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"HTTP/9 what\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 100_000 + b"\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 10_000 + b"\r\n",
        bytes(range(256)),
    ],
    ids=range(7),
)
async def test_what_is_not_http_is_a_protocol_failure(garbage: bytes) -> None:
    async with receiving(once(garbage)) as receiver:
        assert (await failure(post(at(receiver)))).kind == "protocol"


async def test_a_connection_that_ends_is_a_reset() -> None:
    for ending in (resetting, once(b""), once(b"HTTP/1.1 200 OK\r\nX: half")):
        async with receiving(ending) as receiver:
            assert (await failure(post(at(receiver)))).kind == "reset"
