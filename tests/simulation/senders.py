"""Senders as they are: the real outbox, and what each believes to have in its hands."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from jobs.ids import new_webhook_id
from jobs.outbox import Outbox
from jobs.policy import QueueOptions
from jobs.webhook import Delivery, NewDelivery, Told, Try, Untold, Verdict

from .fleet import driven

if TYPE_CHECKING:
    from .world import World

LEASE_S = 3.0
#: Seconds of nothing but failures that disable an endpoint.
DISABLE_AFTER_S = 100.0
#: Rounds of sending in which nothing comes to its end: then what is still pending is stuck.
IDLE_ROUNDS = 3


def new_delivery(shard: int, event: Untold) -> NewDelivery:
    """Return what a sender makes of an event."""
    assert event.webhook is not None, f"{event.owner} has lost what it asked for"
    return NewDelivery(
        id=new_webhook_id(shard),
        entry=event.entry,
        owner=event.owner,
        tenant=event.tenant,
        type=event.type,
        url=event.webhook.url,
        endpoint=f"{event.tenant}-{event.webhook.url[8]}",
        secret=None,
        body=f"{event.type} {event.owner} {event.seq}".encode(),
    )


class Sender:
    """One sender's process."""

    #: Makes every try another one.
    tries = 0

    def __init__(self, name: str, link: Any, options: QueueOptions) -> None:
        self.outbox = Outbox(link, options, sender=name, disable_after_s=DISABLE_AFTER_S)
        #: Events that it has seen, and has perhaps not posted yet.
        self.seen: dict[int, list[Untold]] = {}
        #: Its last post, which it may repeat: shard, deliveries, lease.
        self.posted: tuple[int, list[NewDelivery], float | None] | None = None
        #: Deliveries of each shard that it believes to have leased; and results to be told.
        self.hands: dict[int, list[Delivery]] = {}
        self.former: dict[int, list[Delivery]] = {}
        self.results: dict[int, list[Told]] = {}
        self.last: dict[int, list[Told]] = {}

    def look(self, shard: int, most: int) -> None:
        """See what is to be told."""
        self.seen[shard] = driven(self.outbox.untold(shard, most))

    def post(self, shard: int, how: str) -> None:
        """Forget what it has seen, or make deliveries of it; what it has seen stays in mind."""
        events = self.seen.get(shard, [])
        if how == "forget":
            driven(self.outbox.forget(shard, events))
        elif events:
            new = [new_delivery(shard, event) for event in events]
            self._post(shard, new, LEASE_S if how == "lease" else None)

    def _post(self, shard: int, new: list[NewDelivery], lease_s: float | None) -> None:
        self.posted = (shard, new, lease_s)
        made = driven(self.outbox.post(shard, new, lease_s=lease_s))
        self._take(shard, made)

    def _take(self, shard: int, deliveries: Sequence[Delivery]) -> None:
        self.hands.setdefault(shard, []).extend(deliveries)
        self.former.setdefault(shard, []).extend(deliveries)

    def post_again(self) -> None:
        """Send once more what it sent last, as after a lost answer."""
        if self.posted is not None:
            self._post(*self.posted)

    def lease(self, shard: int, most: int, room: dict[str, int]) -> None:
        """Take what is due."""
        taken = self.outbox.lease(shard, most=most, each=2, room=room, lease_s=LEASE_S)
        self._take(shard, driven(taken).deliveries)

    def chosen(self, shard: int, which: int, *, stale: bool) -> list[Delivery]:
        """Choose some of its deliveries, or one that it once had."""
        if stale:
            former = self.former.get(shard, [])
            return former[-1 - which % len(former) :][:1] if former else []
        hands = self.hands.get(shard, [])
        some = [each for at, each in enumerate(hands) if which >> at % 8 & 1] or hands[:1]
        self.hands[shard] = [each for each in hands if each not in some]
        return some

    def result(self, delivery: Delivery, verdict: str, now: int, backoff: int) -> Told:
        """Return the result of a try, another one each time."""
        Sender.tries += 1
        if verdict == "back":
            return Told(delivery=delivery, verdict=Verdict.BACK)
        tried = Try(at=now, outcome=verdict, seconds=float(Sender.tries))
        at = now + backoff if verdict == "retry" else None
        return Told(delivery=delivery, verdict=Verdict(verdict), tried=tried, next_at=at)

    def settle(self, shard: int, results: Sequence[Told]) -> None:
        """Tell results, again until there is an answer."""
        self.results.setdefault(shard, []).extend(results)
        self.last[shard] = list(self.results[shard])
        driven(self.outbox.settle(shard, self.results[shard]))
        self.results[shard] = []


def tell_in_time(world: World, now: int) -> None:
    """What was erased is told of within thirty days: then it fades, which no sender can help."""
    for shard, books in world.link.shards.items():
        while any(one.until <= now for one in books.gone.values()):
            sender = Sender("timely", world.link, world.options)
            sender.look(shard, 50)
            sender.post(shard, "forget")


def tell_everything(world: World) -> None:
    """Empty every outbox, and end every delivery; each event was told once, or forgotten."""
    sender = Sender("last", world.link, world.options)
    left, idle = math.inf, 0
    for number in itertools.count():
        waiting = [world.now]
        for shard, books in world.link.shards.items():
            while books.outbox:
                sender.look(shard, 50)
                sender.post(shard, "leave" if number % 2 else "lease")
            driven(sender.outbox.release(shard))
            sender.lease(shard, 50, {})
            hands = sender.hands.pop(shard, [])
            verdicts = ("delivered", "failed") if number % 3 else ("delivered", "retry")
            results = [
                sender.result(each, verdicts[at % 2], world.now, 500)
                for at, each in enumerate(hands)
            ]
            sender.settle(shard, results)
            waiting += [each.at for each in books.deliveries.values() if each.place]
        if len(waiting) == 1:
            break
        left, idle = len(waiting), 0 if len(waiting) < left else idle + 1
        assert idle < IDLE_ROUNDS, f"{len(waiting) - 1} deliveries are stuck"
        world.set_clock(max(waiting) + 1)
    for comparer in world.link.comparers.values():
        books = comparer.books
        comparer.check_touched()
        if books.events:
            comparer.check_all()
        assert not books.gone
        assert all(event.became for event in books.events)
        made = [event.became for event in books.events if event.became != "forgotten"]
        assert len(made) == len(set(made)), "a delivery was made of two events"
