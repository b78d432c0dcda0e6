"""Jobs that named no version follow to the one in production, once nobody serves their own."""

from __future__ import annotations

import time
from collections.abc import Sequence

from jobs import scripts
from jobs.connection import RedisConnections
from jobs.errors import QueueUnavailable
from jobs.policy import QueueOptions

#: Jobs moved by one call: a page takes Redis some milliseconds.
_PAGE = 250
#: Seconds for which one pass goes on while pages come back full.
_LONGEST_S = 0.3


async def follow(
    connections: RedisConnections,
    options: QueueOptions,
    shards: Sequence[int],
    target: tuple[str, str],
    others: Sequence[str],
) -> int:
    """Move what waits for other versions of a model to the target; return how many jobs moved.

    A version that a worker serves keeps its jobs, and so does every job whose submit named its
    version. Raises QueueUnavailable where no shard answered.
    """
    if not others:
        return 0
    moved = 0
    until = time.monotonic() + _LONGEST_S
    failures = []
    for shard in shards:
        try:
            more = True
            while more:
                args = [*options.policy, *target, _PAGE, *others]
                page = int(await connections.run(scripts.FOLLOW, shard, args))
                moved += page
                more = page == _PAGE and time.monotonic() < until
        except QueueUnavailable as error:
            # The servers of other shards may be well.
            failures.append(error)
    if failures and len(failures) == len(shards):
        raise failures[0]
    return moved
