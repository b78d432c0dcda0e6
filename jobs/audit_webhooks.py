"""What must be true of events and deliveries in one shard."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator

from jobs.snapshot import Snapshot
from jobs.webhook import DeliveryStatus

#: kind, key, detail of something that should not be.
Row = tuple[str, str, str]


def _events(snapshot: Snapshot) -> Iterator[Row]:
    waiting = Counter(snapshot.outbox.values())
    owners: dict[str, tuple[str, dict[str, str]]] = {
        identifier: (f"job:{identifier}", job) for identifier, job in snapshot.jobs.items()
    }
    for kind in ("batch", "gone"):
        for identifier, record in snapshot.named(kind, snapshot.hashes):
            owners.setdefault(identifier, (f"{kind}:{identifier}", record))
    for owner, (key, record) in owners.items():
        counted = int(record.get("untold") or 0)
        if counted != waiting[owner]:
            yield "counter", "outbox", f"{key} counts {counted} events, there are {waiting[owner]}"
        if key.startswith("gone:") and not waiting[owner]:
            yield "orphan", key, "all of it has been told"
    for owner in waiting.keys() - owners.keys():
        yield "orphan", "outbox", f"{owner} is gone, and its webhook cannot be told"


def _places(snapshot: Snapshot) -> Iterator[Row]:
    retry = snapshot.zset("retry")
    for identifier, each in snapshot.deliveries.items():
        calls = identifier in snapshot.zset(f"calls:{each.get('endpoint')}")
        places = calls + (identifier in retry)
        wanted = each.get("status") == DeliveryStatus.PENDING
        if places != wanted:
            detail = f"it is {each.get('status')} and waits in {places} places"
            yield "place", f"delivery:{identifier}", detail
        ended = each.get("status") in {DeliveryStatus.FAILED, DeliveryStatus.DISABLED}
        if ended != (identifier in snapshot.zset("undelivered")):
            yield "missing", "undelivered", f"{identifier} is {each.get('status')}"
    for endpoint, calls_of in snapshot.named("calls", snapshot.zsets):
        if endpoint not in snapshot.zset("lines"):
            yield "missing", "lines", f"{endpoint} has calls and stands in no line"
        for identifier in calls_of.keys() - snapshot.deliveries.keys():
            yield "orphan", f"calls:{endpoint}", f"{identifier} is gone"
    for endpoint in snapshot.zset("lines"):
        if f"calls:{endpoint}" not in snapshot.zsets:
            yield "orphan", "lines", f"{endpoint} has no calls"
    for identifier in retry.keys() - snapshot.deliveries.keys():
        yield "orphan", "retry", f"{identifier} is gone"


def _logs(snapshot: Snapshot) -> Iterator[Row]:
    for identifier in snapshot.called - snapshot.deliveries.keys():
        yield "orphan", f"called:{identifier}", "its delivery is gone"
    for owner, told in snapshot.named("told", snapshot.zsets):
        if not told.keys() & snapshot.deliveries.keys():
            yield "orphan", f"told:{owner}", "its deliveries are gone"
    for identifier, each in snapshot.deliveries.items():
        if identifier not in snapshot.zset(f"told:{each.get('owner')}"):
            yield "missing", f"told:{each.get('owner')}", f"{identifier} cannot be listed"
    for endpoint, _ in snapshot.named("endpoint", snapshot.hashes):
        if endpoint not in snapshot.zset("failing"):
            yield "missing", "failing", f"{endpoint} cannot be listed"


WEBHOOK_RULES: tuple[Callable[[Snapshot], Iterator[Row]], ...] = (_events, _places, _logs)
