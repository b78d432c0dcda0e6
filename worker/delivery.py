"""Calls that must get through: what arrives while one is in flight goes together in the next."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Hashable, Iterable
from typing import Generic, TypeVar

from telemetry import logs
from worker.backoff import TRANSIENT, Backoff

Parcel = TypeVar("Parcel")

MOST_PARCELS = 256
MOST_BYTES = 1 << 20
LONGEST_PAUSE_S = 2.0

log = logs.get("worker.delivery")


class Delivery(Generic[Parcel]):
    """Hands parcels over by lane: none waits for a lane whose receiver is away.

    Unlike a group commit with a future for each item, nobody waits for a single parcel here.
    """

    def __init__(
        self,
        name: str,
        deliver: Callable[[list[Parcel]], Awaitable[None]],
        size: Callable[[Parcel], int] = lambda _: 0,
        lane: Callable[[Parcel], Hashable] = lambda _: None,
    ) -> None:
        self._name = name
        self._deliver = deliver
        self._size = size
        self._lane_of = lane
        #: as many as there are shards whose jobs were held
        self._lanes: dict[Hashable, _Lane[Parcel]] = {}
        self._running: asyncio.TaskGroup | None = None

    def post(self, parcels: Iterable[Parcel]) -> None:
        """Put parcels into the next call of their lane."""
        for parcel in parcels:
            key = self._lane_of(parcel)
            lane = self._lanes.get(key)
            if lane is None:
                lane = self._lanes[key] = _Lane(self._name, self._deliver, self._size)
                if self._running is not None:
                    self._running.create_task(lane.run())
            lane.put(parcel)

    async def emptied(self) -> None:
        """Wait until every parcel posted so far has been taken."""
        for lane in list(self._lanes.values()):
            await lane.empty.wait()

    async def run(self) -> None:
        """Deliver until canceled."""
        async with asyncio.TaskGroup() as group:
            for lane in self._lanes.values():
                group.create_task(lane.run())
            self._running = group
            try:
                # Another lane may be made at any time.
                await asyncio.get_running_loop().create_future()
            finally:
                # What is posted from now on is for nobody, but not wrong.
                self._running = None


class _Lane(Generic[Parcel]):
    """Hands parcels over in order, one call at a time, and repeats a failed call for ever."""

    def __init__(
        self,
        name: str,
        deliver: Callable[[list[Parcel]], Awaitable[None]],
        size: Callable[[Parcel], int],
    ) -> None:
        self._name = name
        self._deliver = deliver
        self._size = size
        self._waiting: deque[Parcel] = deque()
        self._posted = asyncio.Event()
        self.empty = asyncio.Event()

    def put(self, parcel: Parcel) -> None:
        if not self._waiting:
            self.empty.clear()
            self._posted.set()
        self._waiting.append(parcel)

    async def run(self) -> None:
        while True:
            await self._posted.wait()
            while self._waiting:
                group = self._group()
                await self._insist(group)
                for _ in group:
                    self._waiting.popleft()
            self._posted.clear()
            self.empty.set()

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
