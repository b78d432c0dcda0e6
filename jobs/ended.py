"""What ended, newest first, over all shards: dead letters, and deliveries that failed."""

from __future__ import annotations

import heapq
import re
from collections.abc import Sequence
from dataclasses import dataclass

from jobs import scripts
from jobs.connection import RedisConnections
from jobs.errors import MalformedRequest
from jobs.policy import QueueOptions
from jobs.shards import SHARDS

#: Calls under way at once: a look at all shards must leave connections to others.
_AT_ONCE = 8
_CURSOR = re.compile(r"([0-9]{1,15})-((?:job|wh)_[0-9a-v]{29})")


@dataclass(frozen=True, slots=True, order=True)
class Place:
    """Where something that ended stands in the order of all."""

    ended_at: int
    id: str

    def cursor(self) -> str:
        """Return the cursor of a page that begins behind it."""
        return f"{self.ended_at}-{self.id}"


def place_of(cursor: str | None) -> Place | None:
    """Return where a page begins; raises MalformedRequest for a cursor that no list gave."""
    if cursor is None:
        return None
    match = _CURSOR.fullmatch(cursor)
    if match is None:
        raise MalformedRequest("`cursor` is not one that a list returned as `next_cursor`.")
    return Place(int(match[1]), match[2])


async def older(
    connections: RedisConnections, options: QueueOptions, key: str, place: Place | None, count: int
) -> list[Place]:
    """Return up to `count` places before this one, of the index `key` of each shard."""
    # All shards: also those of models that nobody knows any more.
    args = [*options.policy, count, "" if place is None else place.ended_at, key]
    looks: list[list[Place]] = []
    for first in range(0, SHARDS, _AT_ONCE):
        asked = dict.fromkeys(range(first, min(first + _AT_ONCE, SHARDS)), args)
        answers, failure = await connections.run_each(scripts.DEAD, asked)
        if failure is not None:
            raise failure
        looks += (_places(flat, place) for flat in answers.values())
    merged = heapq.merge(*looks, reverse=True)
    return [each for each, _ in zip(merged, range(count), strict=False)]


def _places(flat: Sequence[bytes], before: Place | None) -> list[Place]:
    pairs = zip(flat[::2], flat[1::2], strict=True)
    found = [Place(int(ended_at), identifier.decode()) for identifier, ended_at in pairs]
    return [each for each in found if before is None or each < before]
