"""Which endpoints are left alone for a while: a dead receiver is not asked at every delivery."""

from __future__ import annotations

import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass

#: Tries at once at an endpoint, and at one whose last try failed.
MOST_AT_ONCE, MOST_WHILE_FAILING = 8, 2
#: Failures in a row after which an endpoint is left alone, and for how long at first and at most.
OPEN_AFTER = 10
FIRST_PAUSE_S, LONGEST_PAUSE_S = 30.0, 600.0
#: Endpoints remembered: each look at a shard names them all. Who has a path for each job and does
#: not answer would fill it for an hour.
MOST_REMEMBERED = 4096
#: An endpoint of which nothing was heard for so long is forgotten.
_IDLE_S = 3600.0
_TIDY_EVERY_S = 60.0


@dataclass(slots=True)
class _Trouble:
    failures: int = 0
    pause_s: float = 0.0
    #: On the clock; it is open until then, half-open afterwards.
    open_until: float = 0.0
    heard_at: float = 0.0


class Breaker:
    """Of each endpoint in trouble, how bad it is; one that answers is not remembered."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, scale: float = 1.0) -> None:
        self._clock = clock
        #: A factor of its pauses: where delays between tries are shorter, they are as well.
        self._scale = min(1.0, scale)
        #: The one that failed last is the last.
        self._troubles: OrderedDict[str, _Trouble] = OrderedDict()
        self._tidy_at = clock() + _TIDY_EVERY_S

    def __iter__(self) -> Iterator[str]:
        """Yield the endpoints whose last try failed."""
        return iter(self._troubles)

    def __len__(self) -> int:
        return len(self._troubles)

    def failing(self, endpoint: str) -> bool:
        """Whether its last try failed."""
        return endpoint in self._troubles

    def most(self, endpoint: str) -> int:
        """Return how many tries at once the endpoint may have now: 0 while it is left alone."""
        trouble = self._troubles.get(endpoint)
        if trouble is None:
            return MOST_AT_ONCE
        if trouble.failures < OPEN_AFTER:
            return MOST_WHILE_FAILING
        return 1 if self._clock() >= trouble.open_until else 0

    def succeeded(self, endpoint: str) -> None:
        """Note that it answered as it should."""
        self._troubles.pop(endpoint, None)

    def failed(self, endpoint: str) -> bool:
        """Note a failure; say whether the endpoint is left alone because of it."""
        now = self._clock()
        self._tidy(now)
        trouble = self._troubles.setdefault(endpoint, _Trouble())
        self._troubles.move_to_end(endpoint)
        if len(self._troubles) > MOST_REMEMBERED:
            self._troubles.popitem(last=False)
        trouble.heard_at = now
        trouble.failures += 1
        # Tries that were under way when it was opened say nothing new.
        if trouble.failures < OPEN_AFTER or now < trouble.open_until:
            return False
        pause_s = max(trouble.pause_s * 2, FIRST_PAUSE_S * self._scale)
        trouble.pause_s = min(pause_s, LONGEST_PAUSE_S * self._scale)
        trouble.open_until = now + trouble.pause_s
        return True

    def _tidy(self, now: float) -> None:
        if now < self._tidy_at:
            return
        self._tidy_at = now + _TIDY_EVERY_S
        for endpoint, trouble in list(self._troubles.items()):
            if now - trouble.heard_at >= _IDLE_S:
                del self._troubles[endpoint]
