"""What came of tries on its way to Redis: nothing is lost while this process lives."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Sequence

from jobs.commit import GroupCommit
from jobs.errors import NotDurable, QueueFull, QueueUnavailable
from jobs.outbox import Outbox
from jobs.webhook import Told, Verdict
from telemetry import logs
from webhooks.retry_queue import Retries

#: What Redis may be asked again after.
TRANSIENT = (QueueUnavailable, NotDurable, QueueFull)
#: What a try is counted as; `dropped` is one of an event that is tried once.
OUTCOMES = (*(each.value for each in Verdict if each is not Verdict.BACK), "dropped")
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.1, 2.0

log = logs.get("webhooks.results")


class Results:
    """Notes results in groups, shard by shard, and again until Redis has them."""

    def __init__(
        self, outbox: Outbox, retries: Retries, count: Callable[[str], None] | None = None
    ) -> None:
        self._outbox = outbox
        self._retries = retries
        self._count = count
        self._groups: dict[int, GroupCommit[Told, None]] = {}
        self._open: set[asyncio.Future[None]] = set()

    def add(self, shard: int, told: Told) -> None:
        """Note a result soon."""
        group = self._groups.get(shard)
        if group is None:
            call = functools.partial(self._settle, shard)
            group = self._groups[shard] = GroupCommit(call)
        noted = group.add(told)
        self._open.add(noted)
        noted.add_done_callback(self._open.discard)

    async def flush(self) -> None:
        """Wait until Redis has them all."""
        while self._open:
            await asyncio.wait(self._open)

    async def _settle(self, shard: int, told: Sequence[Told]) -> list[None]:
        pause_s = _FIRST_PAUSE_S
        while True:
            try:
                await self._outbox.settle(shard, told)
                break
            except TRANSIENT as error:
                log.warning("results_wait", shard=shard, results=len(told), error=error.detail)
            await asyncio.sleep(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)
        for each in told:
            if each.next_at is not None:
                self._retries.ask(shard, each.next_at)
            if self._count is not None and each.verdict is not Verdict.BACK:
                self._count(_outcome(each))
        return [None] * len(told)


def _outcome(told: Told) -> str:
    if told.delivery.best_effort and told.verdict is not Verdict.DELIVERED:
        return "dropped"
    return told.verdict.value
