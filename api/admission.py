"""Whether a submit is let in: there must be room for its result, and time before its deadline.

How room is reckoned, and why so: docs/decisions/0007-room-to-end.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

from api.load import LoadWatch
from api.problems import DeadlineUnreachable
from api.reserve import TAKEN, Left, left, owed, owed_by_job, worth_rewriting
from jobs.connection import RedisConnections
from jobs.errors import HeadraceError, NotDurable, QueueFull
from jobs.job import NewJob
from jobs.queue import JobQueue
from jobs.room import RoomReader
from jobs.states import Priority

#: What was let in so shortly before a reading may not have been in Redis then.
_ON_ITS_WAY_S = 1.0
#: Figures are read again once this share of the room they showed has been given away here: up to
#: 16 processes together thus never give away more than there is, whatever rushes in.
_SHARE = 1 / 16
#: But not for each few jobs.
_LEAST = 64 * 1024
#: The log is asked to be rewritten no more often.
_REWRITE_EVERY_S = 10.0
#: The longest that a caller is told to stay away because of a full queue.
_LONGEST_RETRY_S = 300.0


@dataclass(frozen=True, slots=True, eq=False)
class Ticket:
    """What one request was let in with: bytes that it takes, and bytes owed to its jobs."""

    at: float
    taking: int
    promising: int


class Admission:
    """Judges submits by figures that a background task keeps fresh.

    A request waits for it only when very much was let in since the last reading.
    """

    def __init__(self, connections: RedisConnections, queue: JobQueue, loads: LoadWatch) -> None:
        self._queue = queue
        self._loads = loads
        self._reader = RoomReader(connections)
        self._left: list[Left] = []
        #: What may not be in the last reading, the oldest first, and the sums.
        self._given: OrderedDict[Ticket, None] = OrderedDict()
        self._taken = self._promised = 0
        #: Bytes let in since the last reading: taken, and taken or promised.
        self._taken_since = self._given_since = 0
        #: The last reading failed: what it would have shown may be worse than what is known.
        self._stale = False
        self._refreshing: asyncio.Task[None] | None = None
        self._rewrite_at = float("-inf")

    async def refresh(self) -> None:
        """Read how full Redis is and let it make room; raises QueueUnavailable."""
        began = time.monotonic()
        # Taken off only once there is a reading: one that hangs must not let submits pass by it.
        taken, given = self._taken_since, self._given_since
        try:
            loads = await self._loads.refresh()
            rooms = await self._reader.read()
        except HeadraceError:
            # It may have gone away for want of room: the next submit waits for a reading.
            self._stale = True
            raise
        self._stale = False
        self._taken_since -= taken
        self._given_since -= given
        self._left = [each for room in rooms for each in left(room, owed(loads))]
        while self._given and (oldest := next(iter(self._given))).at < began - _ON_ITS_WAY_S:
            self.take_back(oldest)
        if began - self._rewrite_at > _REWRITE_EVERY_S and any(map(worth_rewriting, rooms)):
            self._rewrite_at = began
            await self._reader.make_room(worth_rewriting)

    def no_room(self, taking: int = 0, promising: int = 0) -> str | None:
        """Say what is short for a job that takes and will take so many bytes; None if nothing."""
        taking += self._taken
        promising += self._promised + taking
        for each in self._left:
            if each.bytes < (promising if each.owing else taking):
                return each.why
        return None

    async def admit(
        self, jobs: Sequence[NewJob], key: str | None, shards: Sequence[int]
    ) -> Ticket | None:
        """Let the jobs of a request in, or raise QueueFull or DeadlineUnreachable.

        The ticket is to be taken back when no new jobs came of it. A repeat of a request that was
        let in before is no new job, so it passes, if need be without one.
        """
        first = jobs[0]
        taking = sum(TAKEN + each.size for each in jobs)
        promising = len(jobs) * owed_by_job(self._loads.known(first.model))
        await self._keep_fresh()
        refusal = self._refusal(first, taking, promising)
        if refusal is None:
            return self._give(taking, promising)
        if key is None or not await self._queue.has_key(first.tenant, first.model, key, shards):
            raise refusal
        return None

    def take_back(self, ticket: Ticket | None) -> None:
        """Count what was let in no longer: no new jobs came of it, or a reading shows them."""
        if ticket is not None and ticket in self._given:
            del self._given[ticket]
            self._taken -= ticket.taking
            self._promised -= ticket.promising

    def refused(self, ticket: Ticket | None, error: HeadraceError, model: str) -> None:
        """Take note that the queue refused a submit; a full one tells when to come back."""
        # What lacks a replica was written all the same.
        if not isinstance(error, NotDurable):
            self.take_back(ticket)
        if isinstance(error, QueueFull):
            error.retry_after_s = error.retry_after_s or self._retry_after(model)

    async def _keep_fresh(self) -> None:
        if not self._much_was_given():
            return
        if self._refreshing is None:
            self._refreshing = asyncio.create_task(self.refresh(), name="admission-refresh")
            self._refreshing.add_done_callback(self._refreshed)
        # A Redis that is away refuses the submit itself.
        with contextlib.suppress(HeadraceError):
            await asyncio.shield(self._refreshing)

    def _much_was_given(self) -> bool:
        if self._stale:
            return True
        if not self._left:
            return self._taken_since > _LEAST
        # Against each bound what it bounds: small jobs with large results fill it by mere promises.
        return any(
            (self._given_since if each.owing else self._taken_since)
            > max(_LEAST, each.bytes * _SHARE)
            for each in self._left
        )

    def _refreshed(self, task: asyncio.Task[None]) -> None:
        self._refreshing = None
        if not task.cancelled():
            # Marked as seen: the request that began it may have gone away meanwhile.
            task.exception()

    def _give(self, taking: int, promising: int) -> Ticket:
        ticket = Ticket(time.monotonic(), taking, promising)
        self._given[ticket] = None
        self._taken += taking
        self._promised += promising
        self._taken_since += taking
        self._given_since += taking + promising
        return ticket

    def _refusal(self, job: NewJob, taking: int, promising: int) -> HeadraceError | None:
        if short := self.no_room(taking, promising):
            return QueueFull(short, retry_after_s=self._retry_after(job.model))
        # One of high priority overtakes most of the backlog: how much of it is not known here.
        if job.deadline_s is None or job.priority is Priority.HIGH:
            return None
        load = self._loads.known(job.model)
        if load is None or load.seconds_per_job is None or load.ready == 0:
            return None
        if load.backlog_seconds <= job.deadline_s:
            return None
        return DeadlineUnreachable(
            f"The backlog of {job.model!r} is about {load.backlog_seconds:.1f} s, longer than the "
            f"deadline of {job.deadline_s:g} s. Ask for a later deadline_s, or a higher priority."
        )

    def _retry_after(self, model: str) -> float:
        load = self._loads.known(model)
        return min(_LONGEST_RETRY_S, max(1.0, load.backlog_seconds if load else 1.0))
