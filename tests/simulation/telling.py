"""Who must have been told: waiting processes, idle workers, and the sender of webhooks."""

from __future__ import annotations

from collections import Counter

from jobs.job import jobs_from_wake

from .books import Books
from .comparing import Comparer, pairs, same
from .wire import Wire


def check_told(comparer: Comparer) -> None:
    """Compare the doorbell and the outbox of a shard with the books."""
    books, prefix, wire = comparer.books, comparer.prefix, comparer.wire
    by_number = {(each.owner, each.seq): each for each in books.outbox}
    rows = wire.call("XRANGE", f"{prefix}outbox", "-", "+")
    found = [pairs(fields) for _, fields in rows]
    events = [by_number[e.get("job") or e["batch"], int(e["seq"])] for e in found]
    told = [(each["type"], int(each["at"])) for each in found]
    same("outbox", told, [(each.type, each.at) for each in events])
    # What happened in one call may stand in any order.
    same("order", [each.number for each in events], [each.number for each in books.outbox])
    same("rings of senders", _rings(wire, f"{prefix}bell:!webhooks"), books.sender_rings)
    models = {account.job.model for account in books.jobs.values()}
    rings = sum(_rings(wire, f"{prefix}bell:{model}") for model in models)
    if models:
        same("rings", rings, books.rings)


def _rings(wire: Wire, bell: str) -> int:
    if not wire.call("EXISTS", bell):
        return 0
    about = wire.call("XINFO", "STREAM", bell)
    return int(dict(zip(about[::2], about[1::2], strict=True))[b"entries-added"])


def check_woken(ear: Wire, channel: str, shards: list[Books]) -> None:
    """Compare what a waiting process has heard with the ends of the jobs that it watched."""
    heard: Counter[str] = Counter()
    for _, _, message in ear.gather():
        if message.startswith(b"job_"):
            heard.update(message.decode().split(" "))
        else:
            jobs = jobs_from_wake(message)
            assert all(job.final for job in jobs)
            heard.update(job.id for job in jobs)
    woken = Counter(each for books in shards for to, each in books.woken if to == channel)
    same("woken", dict(heard), dict(woken))
