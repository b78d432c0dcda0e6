"""How each model does, as this process knows it: about a second old at most."""

from __future__ import annotations

import math
import time
from collections.abc import Awaitable, Callable, Sequence

from jobs.errors import QueueUnavailable
from jobs.overview import ModelOverview

#: A model nobody asked about for this long, and that has no work, is read in turn with its like,
#: so many at a time.
_INTEREST_S = 60.0
_IN_TURN = 8
#: Older figures (Redis is away) are worse than none.
_STALE_S = 5.0

#: An autoscaler is asked for enough workers to clear the queue in this time.
CLEAR_WITHIN_S = 60.0


class LoadWatch:
    """The overview of every model that requests are about."""

    def __init__(
        self,
        read: Callable[[str], Awaitable[ModelOverview]],
        models: Callable[[], Sequence[str]] = tuple,
    ) -> None:
        self._read = read
        self._models = models
        self._turn = 0
        self._known: dict[str, tuple[float, ModelOverview]] = {}
        self._asked: dict[str, float] = {}

    def known(self, model: str) -> ModelOverview | None:
        """Return the last figures, or None; from now on they are kept up to date."""
        now = time.monotonic()
        self._asked[model] = now
        found = self._known.get(model)
        if found is None or now - found[0] > _STALE_S:
            return None
        return found[1]

    async def now(self, model: str) -> ModelOverview:
        """Read a model's figures; raises QueueUnavailable."""
        figures = await self._read(model)
        self._known[model] = (time.monotonic(), figures)
        return figures

    async def refresh(self) -> list[ModelOverview]:
        """Read every model that was asked about lately or has work; return all that is known.

        Raises QueueUnavailable.
        """
        since = time.monotonic() - _INTEREST_S
        self._asked = {model: asked for model, asked in self._asked.items() if asked > since}
        models = set(self._models())
        self._known = {
            model: found
            for model, found in self._known.items()
            if model in models or model in self._asked
        }
        busy = {model for model, (_, load) in self._known.items() if load.queued or load.running}
        wanted = busy | self._asked.keys()
        rest = sorted(models - wanted)
        self._turn += _IN_TURN
        start = self._turn % len(rest) if rest else 0
        failure, read = None, False
        for model in [*sorted(wanted), *(rest[start:] + rest[:start])[:_IN_TURN]]:
            # One whose shard is away must not keep the figures of the others from being read.
            try:
                await self.now(model)
                read = True
            except QueueUnavailable as error:
                failure = error
        if failure is not None and not read:
            raise failure
        return [load for _, load in self._known.values()]


def seconds_until_started(load: ModelOverview | None, ahead: int) -> float | None:
    """Estimate when a job with `ahead` others before it starts; None while nobody knows."""
    if load is None or load.seconds_per_job is None or load.ready == 0:
        return None
    return ahead * load.seconds_per_job / load.ready


def wanted_workers(load: ModelOverview) -> int:
    """Return how many workers would clear what is waiting within `CLEAR_WITHIN_S`.

    Never fewer than have jobs in their hands: what scales down would stop one of those. One that
    drains has been stopped already, and is nobody's replica any more.
    """
    busy = load.queued + load.running
    if busy == 0:
        return 0
    at_work = sum(worker.holds > 0 and worker.state != "draining" for worker in load.workers)
    work_s = load.backlog_seconds * max(1, load.ready)
    return max(at_work, min(busy, max(1, math.ceil(work_s / CLEAR_WITHIN_S))))
