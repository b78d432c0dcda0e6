"""How tests wait whose fakes answer at once."""

from __future__ import annotations

import asyncio
from collections.abc import Callable


async def until(true: Callable[[], object]) -> None:
    """Wait for it; the time is only for what never comes."""
    async with asyncio.timeout(20):
        while not true():  # noqa: ASYNC110 - what is looked at has no event
            await asyncio.sleep(0.001)


async def turns(count: int = 50) -> None:
    """Let every task go on until it waits for something that is not a fake.

    Turns of the loop, not a time: that may be over before any task had its turn, where the process
    was held up.
    """
    for _ in range(count):
        await asyncio.sleep(0)
