"""Group commit: what arrives while a call is in flight goes together in the next one."""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Generic, TypeVar

Item = TypeVar("Item")
Answer = TypeVar("Answer")

MAX_ITEMS = 256
MAX_BYTES = 256 * 1024


class GroupCommit(Generic[Item, Answer]):
    """Turns many small calls into few large ones without waiting for more to come.

    An item alone goes at once; under load the group grows by itself, and so does the number of
    writes that share one fsync. One call is in flight at a time; with `second_at` another one
    starts beside it as soon as so many items wait, so that neither side stands idle for the other.
    """

    def __init__(
        self,
        call: Callable[[list[Item]], Awaitable[list[Answer]]],
        *,
        size: Callable[[Item], int] | None = None,
        second_at: int | None = None,
    ) -> None:
        self._call = call
        self._size = size
        self._second_at = second_at or sys.maxsize
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._flights: set[asyncio.Task[None]] = set()
        self._flying = 0

    def add(self, item: Item) -> asyncio.Future[Answer]:
        """Put an item into the next group; the future holds its own answer or the error."""
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, future))
        if self._flying == 0 or (self._flying == 1 and len(self._waiting) >= self._second_at):
            self._launch()
        return future

    def _launch(self) -> None:
        self._flying += 1
        flight = asyncio.create_task(self._fly())
        self._flights.add(flight)
        flight.add_done_callback(self._flights.discard)

    def _next_group(self) -> list[tuple[Item, asyncio.Future[Answer]]]:
        group: list[tuple[Item, asyncio.Future[Answer]]] = []
        total = 0
        while self._waiting and len(group) < MAX_ITEMS:
            if self._size is not None:
                total += self._size(self._waiting[0][0])
                if group and total > MAX_BYTES:
                    break
            group.append(self._waiting.popleft())
        return group

    async def _fly(self) -> None:
        try:
            # The last one in flight goes on until nothing waits; a second leaves little to it.
            while len(self._waiting) >= (1 if self._flying == 1 else self._second_at):
                await self._commit(self._next_group())
        finally:
            self._flying -= 1
            if self._waiting and not self._flying:
                # This flight broke; what waits behind it must not.
                self._launch()

    async def _commit(self, group: list[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._call([item for item, _ in group])
        except BaseException as error:
            # Handed on, not swallowed: each caller gets it where it awaits its own answer.
            for _, future in group:
                if not future.done():
                    future.set_exception(error)
                    # A caller that has gone away must not leave a warning about a lost error.
                    future.exception()
            if not isinstance(error, Exception):
                raise
        else:
            for (_, future), answer in zip(group, answers, strict=True):
                if not future.done():
                    future.set_result(answer)
