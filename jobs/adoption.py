"""Adoption: the jobs of a worker that is gone go back to the line."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Sequence
from dataclasses import dataclass

from jobs import keys, scripts
from jobs.connection import RedisConnections, translated
from jobs.errors import QueueUnavailable
from jobs.node import Node
from jobs.policy import QueueOptions

#: The longest silence between two answers of Redis that still counts as unbroken, in seconds.
_GAP_S = 3.0
#: How far the two clocks may drift apart between two answers, in seconds.
_STEP_S = 1.0
#: Jobs moved by one call.
_PAGE = 500
#: Seconds between two calls at the most: whoever comes due before the next is waited for.
_AHEAD_S = 1.2
#: By how much the server's clock may be read wrong, in seconds: too early would be in vain.
_CLOCKS_S = 0.005


@dataclass(frozen=True, slots=True)
class Adopted:
    """A job taken from a life that is over, and what became of it."""

    life: str
    id: str
    was: str
    #: ok (in line again), canceled, or poisoned.
    verdict: str
    model: str
    version: str


class Unbroken:
    """For how long each server has answered this process, with both clocks in step."""

    def __init__(self) -> None:
        self._nodes: dict[str, _Contact] = {}
        #: By shard, the monotonic time before which no beat there can be too old: lives that are
        #: there can only move it on, and new ones begin later.
        self.due: dict[int, float] = {}

    def answered(self, redis_s: float, node: str = "") -> float:
        """Note an answer and Redis's time in it; return for how many seconds there was no break.

        A clock of Redis that jumped makes living workers look dead, and so does a machine that
        slept: its monotonic clock stood still meanwhile. A server that took over begins anew.
        """
        now = time.monotonic()
        offset = redis_s - now
        contact = self._nodes.setdefault(node, _Contact(now, now, offset))
        if now - contact.last > _GAP_S or abs(offset - contact.offset) > _STEP_S:
            contact.since = now
        contact.last, contact.offset = now, offset
        return now - contact.since


@dataclass(slots=True)
class _Contact:
    since: float
    last: float
    offset: float


async def adopt(
    connections: RedisConnections,
    options: QueueOptions,
    shards: Sequence[int],
    unbroken: Unbroken,
) -> list[Adopted]:
    """Bury the dead on `shards`, once Redis has answered for a whole limit without a break.

    Called each second, it buries everybody on time all the same: who comes due before the next
    call is waited for.
    """
    adopted = await _adopt(connections, options, shards, unbroken)
    now = time.monotonic()
    due = {shard: unbroken.due.get(shard, 0.0) for shard in shards}
    soon = [shard for shard, at in due.items() if now < at < now + _AHEAD_S]
    if soon:
        await asyncio.sleep(min(due[shard] for shard in soon) - now + _CLOCKS_S)
        with contextlib.suppress(QueueUnavailable):
            adopted += await _adopt(connections, options, soon, unbroken)
    return adopted


async def _adopt(
    connections: RedisConnections,
    options: QueueOptions,
    shards: Sequence[int],
    unbroken: Unbroken,
) -> list[Adopted]:
    adopted: list[Adopted] = []
    nodes = await connections.by_node(shards)
    failures = []
    for node, own in nodes.items():
        try:
            # An answer first: a call that hung while Redis was away must not count as contact.
            with translated():
                seconds, microseconds = await node.client.time()
            redis_s = seconds + microseconds / 1e6
            offset = time.monotonic() - redis_s
            reached = int(unbroken.answered(redis_s, node.address) * 1000)
            for shard in own:
                args = [*options.policy, int(options.beat_limit_s * 1000), reached, _PAGE]
                adopted += adopted_from(await connections.run(scripts.ADOPT, shard, args))
                if unbroken.due.get(shard, 0.0) < time.monotonic() + _AHEAD_S:
                    beats = keys.shard_prefix(connections.namespace, shard) + "beats"
                    oldest_s = await _oldest_beat(node, beats, redis_s)
                    unbroken.due[shard] = oldest_s + options.beat_limit_s + offset
        except QueueUnavailable as error:
            # The others have their own dead.
            failures.append(error)
            with contextlib.suppress(QueueUnavailable):
                await connections.look_again(node)
    # What was moved is told all the same: nobody will be told of it again.
    if not adopted and failures and len(failures) == len(nodes):
        raise failures[0]
    return adopted


async def _oldest_beat(node: Node, beats: str, now_s: float) -> float:
    """When the life beat last that has not for the longest time; now, where there is none."""
    with translated():
        lives = await node.client.zrange(beats, 0, 0, withscores=True)
    return float(lives[0][1]) / 1000 if lives else now_s


def adopted_from(rows: Sequence[Sequence[bytes]]) -> list[Adopted]:
    """Read what a script says it adopted."""
    return [Adopted(*(value.decode() for value in row)) for row in rows]
