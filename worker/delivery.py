"""Calls that must get through: what arrives while one is in flight goes together in the next."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from typing import Generic, TypeVar

from telemetry import logs
from worker.backoff import TRANSIENT, Backoff

Parcel = TypeVar("Parcel")

MOST_PARCELS = 256
MOST_BYTES = 1 << 20
LONGEST_PAUSE_S = 2.0

log = logs.get("worker.delivery")


class Delivery(Generic[Parcel]):
    """Hands parcels over in order, one call at a time, and repeats a failed call for ever.

    Unlike a group commit with a future for each item, nobody waits for a single parcel here.
    """

    def __init__(
        self,
        name: str,
        deliver: Callable[[list[Parcel]], Awaitable[None]],
        size: Callable[[Parcel], int] = lambda _: 0,
    ) -> None:
        self._name = name
        self._deliver = deliver
        self._size = size
        self._waiting: deque[Parcel] = deque()
        self._posted = asyncio.Event()
        self._empty = asyncio.Event()
        self._empty.set()

    def post(self, parcels: Iterable[Parcel]) -> None:
        """Put parcels into the next call."""
        self._waiting.extend(parcels)
        if self._waiting:
            self._empty.clear()
            self._posted.set()

    async def emptied(self) -> None:
        """Wait until every parcel posted so far has been taken."""
        await self._empty.wait()

    async def run(self) -> None:
        """Deliver until canceled."""
        while True:
            await self._posted.wait()
            while self._waiting:
                group = self._group()
                await self._insist(group)
                for _ in group:
                    self._waiting.popleft()
            self._posted.clear()
            self._empty.set()

    def _group(self) -> list[Parcel]:
        group: list[Parcel] = []
        total = 0
        for parcel in self._waiting:
            total += self._size(parcel)
            if group and (total > MOST_BYTES or len(group) >= MOST_PARCELS):
                break
            group.append(parcel)
        return group

    async def _insist(self, group: list[Parcel]) -> None:
        backoff = Backoff(0.05, LONGEST_PAUSE_S)
        while True:
            try:
                return await self._deliver(group)
            except TRANSIENT as error:
                if backoff.failures == 0:
                    log.warning(
                        "delivery_delayed", what=self._name, count=len(group), why=error.detail
                    )
                await asyncio.sleep(backoff.next_s())
