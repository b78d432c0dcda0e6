"""A look at one shard: new events become deliveries, and what is due comes into this hand."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Iterable

from jobs.outbox import Outbox
from jobs.webhook import Delivery, Told, Verdict
from webhooks.breaker import Breaker
from webhooks.drafts import draft
from webhooks.hand import EACH, Hand, Held
from webhooks.results import Results

#: A sender that dies leaves its deliveries to others after this time. Longer than any try.
LEASE_S = 60.0
#: Events and deliveries read at once: bodies of up to some 20 KiB each.
_EVENTS, _LEASED = 256, 256
#: Of so many reads of events in one look nothing is sent: behind a backlog leases would run out.
_PAGES = 8
#: Where so few of an endpoint wait, more are fetched.
_LOW = 16


class Visits:
    """Looks at shards, and knows which of them have more for an endpoint that was full."""

    def __init__(self, outbox: Outbox, hand: Hand, breaker: Breaker, results: Results) -> None:
        self._outbox = outbox
        self._hand = hand
        self._breaker = breaker
        self._results = results
        #: Shard -> its clock less the loop's, in milliseconds.
        self._ahead: dict[int, float] = {}
        self._more: dict[str, set[int]] = {}
        #: Shards with more than this hand could take.
        self._full: set[int] = set()

    async def look(self, shard: int) -> float | None:
        """Take what there is; return seconds until there may be more, None where nothing waits.

        Raises QueueUnavailable and what else Redis may be asked again after.
        """
        drawn = await self._draw(shard)
        next_in_s = await self._lease(shard)
        return next_in_s if drawn else 0.0

    def now(self, shard: int) -> int:
        """Return the time in Unix milliseconds by the clock that says what is due: the shard's.

        This machine's own may be wrong or set anew: behind it, all tries would come at once.
        """
        if shard not in self._ahead:
            return int(time.time() * 1000)
        return int(asyncio.get_running_loop().time() * 1000 + self._ahead[shard])

    def ready(self, endpoint: str) -> Iterable[int]:
        """Return the shards to look at since an endpoint, or this hand, has room again."""
        ready: set[int] = set()
        if endpoint in self._more and self._hand.waiting(endpoint) <= _LOW:
            ready |= self._more.pop(endpoint)
        if self._full and self._hand.room > len(self._hand):
            ready |= self._full
            self._full = set()
        return ready

    def give_back(self, given_up: Iterable[Held]) -> None:
        """Make deliveries due for anybody that are not tried after all."""
        for held in given_up:
            self._results.add(held.shard, Told(delivery=held.delivery, verdict=Verdict.BACK))

    async def _draw(self, shard: int) -> bool:
        """Make deliveries of events; False where there are more than one look is to take."""
        for _ in range(_PAGES):
            events = await self._outbox.untold(shard, _EVENTS)
            if not events:
                return True
            drafts = draft(shard, events, self._hand, self._breaker)
            if drafts.at_once:
                until = self._lease_end()
                posted = await self._outbox.post(shard, drafts.at_once, lease_s=LEASE_S)
                self._take(shard, posted, until)
            if drafts.later:
                await self._outbox.post(shard, drafts.later, lease_s=None)
            if drafts.forgotten:
                await self._outbox.forget(shard, drafts.forgotten)
            if len(events) < _EVENTS:
                return True
        return False

    async def _lease(self, shard: int) -> float | None:
        most = min(_LEASED, self._hand.room)
        if most == 0:
            self._full.add(shard)
            return None
        rooms, until = self._hand.rooms(), self._lease_end()
        leased = await self._outbox.lease(shard, most=most, each=EACH, room=rooms, lease_s=LEASE_S)
        self._ahead[shard] = leased.now - asyncio.get_running_loop().time() * 1000
        taken = Counter(delivery.endpoint for delivery in leased.deliveries)
        for endpoint in {*taken, *rooms}:
            # An endpoint that was full may have more here, or not: only another look tells.
            if taken[endpoint] >= rooms.get(endpoint, EACH) and self._breaker.most(endpoint):
                self._more.setdefault(endpoint, set()).add(shard)
        self._take(shard, leased.deliveries, until)
        if leased.next_at is None:
            return None
        return max(0.0, (leased.next_at - leased.now) / 1000)

    def _take(self, shard: int, deliveries: Iterable[Delivery], until: float) -> None:
        held = [Held(shard, delivery, until) for delivery in deliveries]
        self.give_back(each for each in held if not self._hand.put(each))

    def _lease_end(self) -> float:
        """The lease as it is counted here begins before Redis counts it."""
        return asyncio.get_running_loop().time() + LEASE_S
