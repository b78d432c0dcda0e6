"""Bells: the streams that wake idle workers and tell of cancels."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import Redis

from jobs import keys
from jobs.connection import RedisConnections, translated
from jobs.errors import QueueUnavailable

#: How long a blocking read lasts at the most, in milliseconds.
_BLOCK_MS = 1000
_RECONNECT_S = 0.5


@dataclass(frozen=True, slots=True)
class Bell:
    """Something to look at: `jobs` wait, or a `cancel` concerns a job of this model."""

    kind: str
    job: str


async def listen(
    connections: RedisConnections, model: str, shards: Sequence[int]
) -> AsyncIterator[Bell]:
    """Yield bells for ever; a `jobs` bell also after each reconnect, lest one was missed."""
    namespace = connections.namespace
    names = [f"{keys.shard_prefix(namespace, shard)}bell:{model}" for shard in shards]
    while True:
        try:
            client = connections.dedicated()
            async with contextlib.aclosing(client):
                # Not `$`: it would skip what rings between two blocking reads.
                with translated():
                    bells = {name: await _newest(client, name) for name in names}
                yield Bell("jobs", "")
                while True:
                    with translated():
                        found = await client.xread(cast(Any, bells), block=_BLOCK_MS)
                    for bell in _bells(found, bells):
                        yield bell
        except QueueUnavailable:
            await asyncio.sleep(_RECONNECT_S)


async def _newest(client: Redis, stream: str) -> str:
    found = cast(list[tuple[bytes, Any]], await client.xrevrange(stream, count=1))
    return found[0][0].decode() if found else "0"


def _bells(found: Any, positions: dict[str, str]) -> list[Bell]:
    streams = found.items() if isinstance(found, dict) else found or ()
    bells = []
    for name, entries in streams:
        batches = entries[0] if isinstance(found, dict) else entries
        for position, fields in batches:
            positions[name.decode()] = position.decode()
            bells.append(Bell(fields[b"kind"].decode(), fields[b"job"].decode()))
    return bells
