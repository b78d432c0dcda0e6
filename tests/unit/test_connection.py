"""The border to the Redis library: its errors, and the cancellations it loses."""

from __future__ import annotations

import asyncio
import contextlib

import pytest
from redis import exceptions

from jobs.connection import translated
from jobs.errors import QueueFull, QueueUnavailable


@pytest.mark.parametrize(
    ("raised", "expected"),
    [
        (exceptions.ConnectionError("gone"), QueueUnavailable),
        (exceptions.TimeoutError("slow"), QueueUnavailable),
        (OSError("reset"), QueueUnavailable),
        (exceptions.OutOfMemoryError("full"), QueueFull),
        (exceptions.ResponseError("READONLY a replica"), QueueUnavailable),
        (exceptions.ResponseError("WRONGTYPE"), exceptions.ResponseError),
    ],
)
async def test_each_error_becomes_one_of_ours(raised: Exception, expected: type[Exception]) -> None:
    with pytest.raises(expected), translated():
        raise raised


async def losing() -> None:
    """Lose a cancellation, as wait_for does when it comes together with a result."""
    with contextlib.suppress(asyncio.CancelledError):
        await asyncio.sleep(60)


async def test_a_lost_cancellation_ends_the_task_all_the_same() -> None:
    async def loop() -> None:
        while True:
            with translated():
                await losing()

    task = asyncio.create_task(loop())
    await asyncio.sleep(0)
    task.cancel()
    async with asyncio.timeout(10):
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_what_is_done_after_a_cancellation_is_left_in_peace() -> None:
    async def tidy() -> str:
        with contextlib.suppress(asyncio.CancelledError):
            await asyncio.sleep(60)
        with translated():
            await asyncio.sleep(0)
        return "tidy"

    task = asyncio.create_task(tidy())
    await asyncio.sleep(0)
    task.cancel()
    assert await task == "tidy"
