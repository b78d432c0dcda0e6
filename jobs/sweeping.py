"""The sweep: deadlines, backoffs and lifetimes, although no worker lives."""

from __future__ import annotations

import time
from collections.abc import Sequence

from jobs import scripts
from jobs.connection import RedisConnections
from jobs.errors import QueueUnavailable
from jobs.policy import QueueOptions

#: Due jobs handled by one call: a page takes Redis some milliseconds.
_PAGE = 250
#: Seconds for which one sweep goes on while pages come back full.
_LONGEST_S = 0.3


async def sweep(
    connections: RedisConnections, options: QueueOptions, shards: Sequence[int]
) -> list[tuple[str, str]]:
    """Do what is due on each shard, page by page; return model and version of what expired."""
    ended: list[tuple[str, str]] = []
    until = time.monotonic() + _LONGEST_S
    failures = []
    for shard in shards:
        try:
            more = True
            while more:
                args = [*options.policy, _PAGE]
                expired, full = await connections.run(scripts.SWEEP, shard, args)
                ended += [(model.decode(), version.decode()) for model, version in expired]
                more = bool(full) and time.monotonic() < until
        except QueueUnavailable as error:
            # The servers of other shards may be well.
            failures.append(error)
    # What has ended is told all the same: nobody will be told of it again.
    if not ended and failures and len(failures) == len(shards):
        raise failures[0]
    return ended
