"""Bells: the streams that wake idle workers and tell of cancels."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from dataclasses import dataclass
from typing import Any, cast

from redis.asyncio import Redis

from jobs import keys
from jobs.connection import Node, RedisConnections, translated
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
    """Yield bells for ever; a `jobs` bell also after each reconnect, lest one was missed.

    The list of shards may grow while this goes on.
    """
    while True:
        node = None
        if not shards:
            # Of webhooks, while no model has a card.
            await asyncio.sleep(_RECONNECT_S)
            continue
        try:
            if connections.clustered and len(shards) > 1:
                source = _merged(connections, model, shards)
            else:
                [node] = await connections.by_node(shards)
                names = [_name(connections, shard, model) for shard in shards]
                source = _read(node, names, shards)
            # Closed here, not by the garbage collector: it holds connections.
            async with contextlib.aclosing(source) as bells:
                async for bell in bells:
                    yield bell
        except QueueUnavailable:
            await asyncio.sleep(_RECONNECT_S)
            with contextlib.suppress(QueueUnavailable):
                await connections.look_again(node)


async def _merged(
    connections: RedisConnections, model: str, shards: Sequence[int]
) -> AsyncGenerator[Bell]:
    """Yield the bells of each shard: a Cluster lets no read span two slots, even on one node.

    A node that is away silences no other.
    """
    heard: asyncio.Queue[Bell] = asyncio.Queue(maxsize=64)

    async def hear(shard: int) -> None:
        async for bell in listen(connections, model, [shard]):
            await heard.put(bell)

    known = list(shards)
    readers = [asyncio.create_task(hear(shard), name="bells") for shard in known]
    try:
        while len(known) == len(shards):
            bell = None
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_BLOCK_MS / 1000):
                    bell = await heard.get()
            if bell is not None:
                yield bell
            for reader in readers:
                if reader.done():
                    # It ends by an error of ours alone, which is not to be lost.
                    reader.result()
    finally:
        for reader in readers:
            reader.cancel()
        await asyncio.gather(*readers, return_exceptions=True)


async def _read(node: Node, names: Sequence[str], shards: Sequence[int]) -> AsyncGenerator[Bell]:
    """Yield the bells of one node until it fails, or there are more shards than these."""
    client = node.reader()
    async with contextlib.aclosing(client):
        # Not `$`: it would skip what rings between two blocking reads.
        with translated():
            bells = {name: await _newest(client, name) for name in names}
        yield Bell("jobs", "")
        while len(names) == len(shards):
            with translated():
                found = await client.xread(cast(Any, bells), block=_BLOCK_MS)
            for bell in _bells(found, bells):
                yield bell


def _name(connections: RedisConnections, shard: int, model: str) -> str:
    return f"{keys.shard_prefix(connections.namespace, shard)}bell:{model}"


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
