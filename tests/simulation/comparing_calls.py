"""The books of events and deliveries against what is there."""

from __future__ import annotations

from collections import Counter
from typing import Any

from jobs.snapshot import Snapshot

from .accounts import Call, Failing
from .books import Books


def check_call(call: Call, record: dict[str, str], log: list[bytes]) -> None:
    """Compare one delivery, and the log of its tries."""
    expected = {
        "owner": call.owner,
        "tenant": call.tenant,
        "type": call.type,
        "endpoint": call.endpoint,
        "body": call.body.decode(),
        "status": call.status,
        "created_at": str(call.created),
        "tries": str(call.tries),
        "next_at": "" if call.next_at is None else str(call.next_at),
        "token": record.get("token", "") if call.token is None else call.token,
    }
    there = {name: record.get(name, "") for name in expected}
    assert there == expected, f"delivery:{call.id}, there and expected: {there}, {expected}"
    assert log == call.log, f"called:{call.id}, there and expected: {log}, {call.log}"


def _failing(row: dict[str, str]) -> Any:
    disabled = (int(row["disabled_at"]), row["reason"]) if "disabled_at" in row else None
    return int(row["failing_since"]), disabled


def _at(since: Failing) -> Any:
    return since.since, since.disabled


def check_calls(books: Books, there: Snapshot) -> None:
    """Compare the outbox, every delivery and its place, and the endpoints."""
    calls = books.deliveries.values()
    places: dict[str, dict[str, int]] = {}
    for call in calls:
        if call.place == "calls":
            places.setdefault(call.endpoint, {})[call.id] = call.at
    gone = {each: int(row["untold"]) for each, row in there.named("gone", there.hashes)}
    failing = {e: _failing(row) for e, row in there.named("endpoint", there.hashes)}
    named = {each: (c["status"], c["endpoint"]) for each, c in there.deliveries.items()}
    pairs = {
        "outbox": (Counter(there.outbox.values()), Counter(each.owner for each in books.outbox)),
        "gone": (gone, {each: one.untold for each, one in books.gone.items()}),
        "deliveries": (named, {each.id: (each.status, each.endpoint) for each in calls}),
        "called": (there.called, {each.id for each in calls if each.log}),
        "calls": (dict(there.named("calls", there.zsets)), places),
        "lines": (there.zset("lines"), {each: min(at.values()) for each, at in places.items()}),
        "retry": (there.zset("retry"), {c.id: c.at for c in calls if c.place == "retry"}),
        "told": (
            dict(there.named("told", there.zsets)),
            {owner: listed.made for owner, listed in books.listed.items()},
        ),
        "undelivered": (there.zset("undelivered"), books.undelivered),
        "failing": (there.zset("failing"), books.failed_at),
        "endpoints": (failing, {each: _at(one) for each, one in books.failing.items()}),
    }
    for what, (found, expected) in pairs.items():
        assert found == expected, f"{what}, there and expected: {found}, {expected}"
