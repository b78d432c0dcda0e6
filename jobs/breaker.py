"""Calls to a server that gave no answer fail at once, until a probe got one."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from jobs.errors import QueueUnavailable

#: Between two probes, in seconds. A probe waits for its answer, so a server that was frozen is
#: found awake the moment it wakes.
_PROBE_EVERY_S = 0.25
_LEAST_RETRY_S, _MOST_RETRY_S = 1.0, 10.0


class Breaker:
    """Open from a `trip` until `answers` is true; `refuse` raises while it is open."""

    def __init__(self, answers: Callable[[], Awaitable[bool]]) -> None:
        self._answers = answers
        self._since = 0.0
        self._task: asyncio.Task[None] | None = None

    def refuse(self) -> None:
        """Raise QueueUnavailable while the server is known not to answer."""
        if self._task is None:
            return
        away_s = time.monotonic() - self._since
        raise QueueUnavailable(
            f"Redis has not answered for {away_s:.0f} s.",
            # The longer it has been away, the longer it is likely to be.
            retry_after_s=min(_MOST_RETRY_S, max(_LEAST_RETRY_S, away_s / 3)),
        )

    def trip(self) -> None:
        """Let no call through until the server answers again."""
        if self._task is None:
            self._since = time.monotonic()
            self._task = asyncio.create_task(self._watch(), name="redis-probe")

    async def _watch(self) -> None:
        try:
            while True:
                if await self._answers():
                    return
                await asyncio.sleep(_PROBE_EVERY_S)
        finally:
            self._task = None

    async def close(self) -> None:
        """Stop probing; a probe that has itself found the server to be replaced goes on."""
        task = self._task
        if task is not None and task is not asyncio.current_task():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
