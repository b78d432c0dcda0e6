"""Jobs that named no version follow to one that is served, once nobody serves their own."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from jobs import scripts
from jobs.connection import RedisConnections
from jobs.errors import QueueUnavailable
from jobs.policy import QueueOptions

#: Jobs moved by one call: a page takes Redis some milliseconds.
_PAGE = 250
#: Seconds for which one pass goes on while there is something to move.
_LONGEST_S = 0.3


@dataclass(frozen=True, slots=True)
class Served:
    """Who serves what, and what else there is of its model."""

    life: str
    model: str
    version: str
    #: The version that unpinned submits get.
    production: str
    others: Sequence[str]

    def args(self, page: int) -> list[str | int]:
        """Return what the follow script takes of it."""
        return [self.life, self.model, self.version, self.production, page, *self.others]


async def follow(
    connections: RedisConnections,
    options: QueueOptions,
    shards: Sequence[int],
    served: Served,
) -> int:
    """Move what waits for lost versions to one that is served; return how many jobs moved.

    A version that a worker serves keeps its jobs, and so does every job whose submit named its
    version. Raises QueueUnavailable where no shard answered.
    """
    moved = 0
    until = time.monotonic() + _LONGEST_S
    failures = []
    for shard in shards:
        try:
            more = True
            while more:
                args = [*options.policy, *served.args(_PAGE)]
                page = int(await connections.run(scripts.FOLLOW, shard, args))
                moved += page
                more = page > 0 and time.monotonic() < until
        except QueueUnavailable as error:
            # The servers of other shards may be well.
            failures.append(error)
    if failures and len(failures) == len(shards):
        raise failures[0]
    return moved
