"""Calls of receivers on the loopback, and how they end."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from egress.connect import Answer, CallFailed, EgressClient
from egress.targets import EgressPolicy

from .receivers import Receiver

LOOPBACK = EgressPolicy.parse(["127.0.0.1/32"])
HEADERS = {"Content-Type": "application/json", "webhook-id": "wh_1"}


async def eventually(true: Callable[[], bool]) -> None:
    """Wait for it; the test's own time limit ends what never comes."""
    while not true():  # noqa: ASYNC110
        await asyncio.sleep(0.005)


def at(receiver: Receiver, path: str = "/hook") -> str:
    return f"http://127.0.0.1:{receiver.port}{path}"


async def post(url: str, timeout_s: float = 5.0, connect_s: float = 5.0) -> Answer:
    async with EgressClient(LOOPBACK) as client:
        return await client.post(url, b"{}", HEADERS, timeout_s, connect_s)


async def failure(call: Awaitable[Answer]) -> CallFailed:
    with pytest.raises(CallFailed) as failed:
        await call
    return failed.value
