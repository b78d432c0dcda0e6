"""Dead letters: jobs that failed or timed out, of all tenants, with each attempt that was made."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from jobs import scripts
from jobs.connection import RedisConnections
from jobs.ended import older, place_of
from jobs.errors import NoSuchJob
from jobs.ids import shard_of
from jobs.job import Job, fields_of, job_from_row
from jobs.policy import QueueOptions
from jobs.states import Status

DEAD = frozenset({Status.FAILED, Status.TIMED_OUT})

#: Records looked at for one page at the most; a rare model gets a short page and a cursor.
_SCAN = 2000
#: Places looked up together: one look asks every shard.
_STRIDE = 200
_READ_PAGE = 32
#: Bytes of errors and attempts from which a page is cut short.
_PAGE_BYTES = 4 << 20


class Attempt(msgspec.Struct, frozen=True, kw_only=True):
    """One attempt that ended in anything but success; times are Unix milliseconds."""

    worker: str
    life: str
    attempt: int
    ended_at: int
    reason: str
    #: Whether a crash was counted against the job.
    charged: bool
    #: None where it never began: the input was refused.
    started_at: int | None = None
    detail: str = ""


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """A job that failed or timed out."""

    job: Job
    attempts: list[Attempt]
    #: The job that a retry of many made of it.
    retried_as: str | None


@dataclass(frozen=True, slots=True)
class DeadPage:
    """Some dead letters, newest first, and where the next page begins."""

    letters: list[DeadLetter]
    next_cursor: str | None


class DeadLetters:
    """Reads the dead letters of every shard."""

    def __init__(self, connections: RedisConnections, options: QueueOptions) -> None:
        self._connections = connections
        self._options = options

    async def page(
        self, *, model: str | None = None, limit: int, cursor: str | None = None
    ) -> DeadPage:
        """Return up to `limit` dead letters older than the cursor.

        Raises MalformedRequest for a cursor that no list gave.
        """
        place = place_of(cursor)
        letters: list[DeadLetter] = []
        size = scanned = 0
        while scanned < _SCAN:
            # One more than looked at tells whether there is a next page.
            stride = max(limit, _STRIDE)
            places = await older(self._connections, self._options, "dead", place, stride + 1)
            more, places = len(places) > stride, places[:stride]
            for start in range(0, len(places), _READ_PAGE):
                part = places[start : start + _READ_PAGE]
                found = await self.read([each.id for each in part])
                for place, letter in zip(part, found, strict=True):
                    if letter is None or model not in (None, letter.job.model):
                        continue
                    letters.append(letter)
                    size += _size(letter)
                    if len(letters) == limit or size > _PAGE_BYTES:
                        done = not more and place == places[-1]
                        return DeadPage(letters, None if done else place.cursor())
            if not more:
                return DeadPage(letters, None)
            scanned += len(places)
        return DeadPage(letters, None if place is None else place.cursor())

    async def read(self, identifiers: Sequence[str]) -> list[DeadLetter | None]:
        """Return dead letters in the order asked for, None where there is none."""
        by_shard: dict[int, list[str]] = {}
        for identifier in identifiers:
            shard = shard_of(identifier)
            if shard is not None:
                by_shard.setdefault(shard, []).append(identifier)
        found: dict[str, DeadLetter | None] = {}
        for shard, ids in by_shard.items():
            for start in range(0, len(ids), _READ_PAGE):
                part = ids[start : start + _READ_PAGE]
                args = [*self._options.policy, *part]
                rows = await self._connections.run(scripts.ATTEMPTS, shard, args)
                found.update((i, _letter(i, row)) for i, row in zip(part, rows, strict=True))
        return [found.get(identifier) for identifier in identifiers]

    async def get(self, identifier: str) -> DeadLetter:
        """Return a dead letter; raises NoSuchJob, also for a job that did not fail."""
        letter = (await self.read([identifier]))[0]
        if letter is None:
            raise NoSuchJob(f"There is no dead letter {identifier}.", job_id=identifier)
        return letter

    async def retried(self, identifier: str, again: str) -> None:
        """Note the job that a dead letter was retried as."""
        shard = shard_of(identifier)
        if shard is not None:
            args = [*self._options.policy, identifier, again]
            await self._connections.run(scripts.RETRIED, shard, args)


def _letter(identifier: str, row: Sequence[Any] | None) -> DeadLetter | None:
    if row is None:
        return None
    flat, result, extra, notes = row
    job = job_from_row(identifier, [flat, None, result, extra, None, None])
    if job.status not in DEAD:
        return None
    attempts = [msgspec.json.decode(note, type=Attempt) for note in notes]
    return DeadLetter(job, attempts, fields_of(flat).get("retried_as"))


def _size(letter: DeadLetter) -> int:
    return len(letter.job.error or b"") + sum(len(each.detail) for each in letter.attempts)
