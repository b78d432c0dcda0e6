"""Asks RQ to make retries due in time. What it does not hear of, the sweep repairs."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Protocol, Self

from telemetry import logs
from webhooks.rq_connection import AWAY
from webhooks.rq_parts import JOB_OPTIONS, RELEASE, AllowedQueue, job_id

log = logs.get("webhooks.retry_queue")

#: RQ's scheduler knows whole seconds. Far-off retries share wider slots: one job releases them all.
_SLOT_SHARE = 0.02
_MOST_ASKED = 100_000


class Retries(Protocol):
    """Whoever sees to it that a retry is made due in time."""

    def ask(self, shard: int, next_at: int) -> None:
        """Have the shard's retries released at that time, Unix milliseconds."""


def slot_of(next_at: int, now: float) -> int:
    """Return the Unix second at which a retry is released: just after its time, never before."""
    share = max(1, int((next_at / 1000 - now) * _SLOT_SHARE))
    # Powers of two, lest every delay has slots of its own.
    width = 1 << (share.bit_length() - 1)
    return -(-next_at // (1000 * width)) * width


class RetryQueue:
    """Enqueues one job for each shard and slot, in groups, in a thread: RQ blocks."""

    def __init__(self, queue: AllowedQueue, clock: Callable[[], float] = time.time) -> None:
        self._queue = queue
        self._clock = clock
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="rq")
        self._new: list[tuple[int, int]] = []
        self._asked: set[tuple[int, int]] = set()
        self._task: asyncio.Task[None] | None = None

    async def idle(self) -> None:
        """Wait until RQ is not being asked for anything."""
        if self._task is not None:
            await self._task

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.idle()
        self._thread.shutdown(wait=False, cancel_futures=True)

    def ask(self, shard: int, next_at: int) -> None:
        """Have the shard's retries released at that time; asked twice it is done once."""
        wanted = (shard, slot_of(next_at, self._clock()))
        if wanted in self._asked:
            return
        self._asked.add(wanted)
        self._new.append(wanted)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._enqueue_all())

    async def _enqueue_all(self) -> None:
        loop = asyncio.get_running_loop()
        while self._new:
            group, self._new = self._new, []
            try:
                await loop.run_in_executor(self._thread, self._enqueue, group)
            except AWAY as error:
                # The sweep finds them, only later.
                log.warning("retries_not_scheduled", retries=len(group), error=str(error))
                self._asked.difference_update(group)
        if len(self._asked) > _MOST_ASKED:
            now = self._clock()
            self._asked = {wanted for wanted in self._asked if wanted[1] > now}

    def _enqueue(self, group: Sequence[tuple[int, int]]) -> None:
        options: dict[str, Any] = JOB_OPTIONS
        with self._queue.connection.pipeline() as pipeline:
            for shard, slot in group:
                self._queue.enqueue_at(
                    datetime.fromtimestamp(slot, UTC),
                    RELEASE,
                    args=(shard,),
                    # The same id twice is one entry of the schedule.
                    job_id=job_id(self._queue.name, f"release-{shard}-{slot}"),
                    description=f"release {shard}",
                    pipeline=pipeline,
                    **options,
                )
            pipeline.execute()
