"""The sweep: deadlines, backoffs and lifetimes, although no worker lives."""

from __future__ import annotations

from collections.abc import Sequence

from jobs import scripts
from jobs.connection import RedisConnections
from jobs.policy import QueueOptions

#: Due jobs handled by one call: a page takes Redis some milliseconds.
_PAGE = 500


async def sweep(
    connections: RedisConnections, options: QueueOptions, shards: Sequence[int]
) -> list[tuple[str, str]]:
    """Do a page of what is due on each shard; return model and version of what expired."""
    ended: list[tuple[str, str]] = []
    for shard in shards:
        expired, _, _ = await connections.run(scripts.SWEEP, shard, [*options.policy, _PAGE])
        ended += [(model.decode(), version.decode()) for model, version in expired]
    return ended
