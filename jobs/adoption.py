"""Adoption: the jobs of a worker that is gone go back to the line."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass

from jobs import scripts
from jobs.connection import RedisConnections, translated
from jobs.policy import QueueOptions

#: The longest silence between two answers of Redis that still counts as unbroken, in seconds.
_GAP_S = 3.0
#: How far the two clocks may drift apart between two answers, in seconds.
_STEP_S = 1.0
#: Jobs moved by one call.
_PAGE = 500


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
    """For how long Redis has answered this process, with both clocks in step."""

    def __init__(self) -> None:
        self._since = self._last = self._offset = float("-inf")

    def answered(self, redis_s: float) -> float:
        """Note an answer and Redis's time in it; return for how many seconds there was no break.

        A clock of Redis that jumped makes living workers look dead, and so does a machine that
        slept: its monotonic clock stood still meanwhile.
        """
        now = time.monotonic()
        offset = redis_s - now
        if now - self._last > _GAP_S or abs(offset - self._offset) > _STEP_S:
            self._since = now
        self._last, self._offset = now, offset
        return now - self._since


async def adopt(
    connections: RedisConnections,
    options: QueueOptions,
    shards: Sequence[int],
    unbroken: Unbroken,
) -> list[Adopted]:
    """Bury the dead on `shards`, once Redis has answered for a whole limit without a break."""
    adopted: list[Adopted] = []
    # An answer first: a call that hung while Redis was away must not count as contact.
    with translated():
        seconds, microseconds = await connections.client.time()
    reached = int(unbroken.answered(seconds + microseconds / 1e6) * 1000)
    for shard in shards:
        args = [*options.policy, int(options.beat_limit_s * 1000), reached, _PAGE]
        adopted += adopted_from(await connections.run(scripts.ADOPT, shard, args))
    return adopted


def adopted_from(rows: Sequence[Sequence[bytes]]) -> list[Adopted]:
    """Read what a script says it adopted."""
    return [Adopted(*(value.decode() for value in row)) for row in rows]
