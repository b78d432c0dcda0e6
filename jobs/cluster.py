"""The masters of a Redis Cluster, and which of them has each slot."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from redis import exceptions

from jobs.errors import QueueUnavailable
from jobs.node import Limits, Node
from jobs.redis_errors import NotSent, WrongKind
from jobs.redis_url import Target
from jobs.topology import LOOK_S, PATIENCE_S, Looking, again_and_again

SLOTS = 16384
#: How often the map is read although every call goes through: subscriptions do not fail when their
#: node has gone out of the map.
_WATCH_S = 5.0


class Cluster:
    """The slot map as the nodes tell it, read again when a call went wrong."""

    patience_s = PATIENCE_S

    def __init__(self, target: Target, limits: Limits) -> None:
        self._target = target
        self._limits = limits
        self._slots: list[Node | None] = [None] * SLOTS
        #: Every node that we have to do with, by address; masters are those with slots.
        self._nodes: dict[tuple[str, int], Node] = {}
        self._masters: list[Node] = []
        self._looking = Looking(self._look)

    def at(self, slot: int) -> Node | None:
        """Return the master of a slot as far as it is known."""
        return self._slots[slot]

    def any(self) -> Node:
        """Return any master: what is published at one of them reaches the subscribers of all."""
        known = self._masters or [self._node(*address) for address in self._target.addresses]
        return random.choice(known)

    async def masters(self) -> Sequence[Node]:
        """Return the masters that have slots."""
        if not self._masters:
            await self.refresh()
        return self._masters

    async def refresh(self, suspect: Node | None = None) -> None:
        """Read the map, from the suspect last of all."""
        await self._looking.look(suspect)

    def redirect(self, slot: int, error: exceptions.MovedError) -> None:
        """Take note of where a node has sent us; it may know before the others."""
        before = self._slots[slot]
        if error.host or before is not None:
            host = error.host or before.address.rpartition(":")[0]  # type: ignore[union-attr]
            self._slots[slot] = self._node(host, int(error.port))

    def _node(self, host: str, port: int) -> Node:
        node = self._nodes.get((host, port))
        if node is None:
            node = self._nodes[host, port] = Node(
                self._target.connection,
                {**self._target.settings, "host": host, "port": port},
                # Always: what waits for one dead master must not hold up the shards of the others.
                replace(self._limits, fail_fast=True),
                look=self.refresh,
            )
        return node

    async def _look(self, suspect: Node | None) -> None:
        seeds = [self._node(*address) for address in self._target.addresses]
        others = [*self._masters, *(seed for seed in seeds if seed not in self._masters)]
        random.shuffle(others)
        others.sort(key=lambda node: node is suspect)
        reasons = []
        for node in others:
            try:
                async with asyncio.timeout(LOOK_S):
                    ranges = await node.calls.send(("CLUSTER", "SLOTS"))
            except exceptions.ResponseError as error:
                raise WrongKind(
                    f"HEADRACE_REDIS_URL names a Cluster, but {node.address} answers: {error}. "
                    "For a single server write redis://host:port."
                ) from error
            except (exceptions.RedisError, OSError, QueueUnavailable) as error:
                reasons.append(f"{node.address}: {str(error) or 'no answer in time'}")
                continue
            if ranges:
                await self._take(ranges, node)
                return
            reasons.append(f"{node.address} knows no node that has slots")
        raise NotSent(f"no node of the Cluster has told who has which slot ({'; '.join(reasons)})")

    async def _take(self, ranges: Sequence[Any], told_by: Node) -> None:
        slots: list[Node | None] = [None] * SLOTS
        masters: list[Node] = []
        for first, last, master, *_ in ranges:
            # A node that does not know its own address means the one that we have used.
            host = master[0].decode() if master[0] else told_by.address.rpartition(":")[0]
            node = self._node(host, int(master[1]))
            slots[first : last + 1] = [node] * (last + 1 - first)
            if node not in masters:
                masters.append(node)
        self._slots, self._masters = slots, masters
        gone = {address: node for address, node in self._nodes.items() if node not in masters}
        # All at once: a retired one sends nothing, so nobody may be led to it meanwhile.
        for address in gone:
            del self._nodes[address]
        for node in gone.values():
            await node.retire()

    async def watch(self) -> None:
        """Read the map again and again."""
        await again_and_again(self.refresh, _WATCH_S)

    async def close(self) -> None:
        """Close every connection."""
        nodes, self._nodes = self._nodes, {}
        for node in nodes.values():
            await node.retire()
