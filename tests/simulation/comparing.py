"""The books against what is there: quickly for what a call has touched, and whole."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable
from typing import Any

from jobs.audit import findings
from jobs.snapshot import Snapshot
from jobs.states import Status

from .accounts import Account
from .books import DAY, RANK, Books
from .comparing_calls import check_call, check_calls
from .wire import Wire

#: Kinds of keys that outlive all jobs and workers.
ETERNAL = {"counts", "bell", "outbox", "fence", "stats", "format"}
#: One set that is cleaned when the next delivery ends.
CLEANED = {"undelivered"}


def same(what: str, there: Any, expected: Any) -> None:
    """Compare, and name what differs alone."""
    if there == expected:
        return
    detail: object = f"{there}, not {expected}"
    if isinstance(there, dict):
        both = {name: (there.get(name), expected.get(name)) for name in [*there, *expected]}
        detail = {name: pair for name, pair in both.items() if pair[0] != pair[1]}
    raise AssertionError(f"{what}, there and expected: {detail}")


def check_record(account: Account, record: dict[str, str]) -> None:
    """Compare one record in Redis with the books."""
    expected = account.record()
    entry = record.get("entry", "")
    if account.place == "lane":
        assert entry.startswith("1-" if account.job.pinned else "0-"), (account.id, entry)
    else:
        assert entry == ("returned" if account.place == "returned" else ""), (account.id, entry)
    there = {name: value for name, value in record.items() if name in expected}
    # A field that should be gone: none of the books' names may be left over.
    there |= {name: record[name] for name in FIELDS & record.keys()}
    same(f"job:{account.id}", there, expected)


#: Fields that are there at some times only.
FIELDS = {
    *("worker", "token", "retries", "crashes", "vanished", "attempt", "batch_size", "alone"),
    *("started_at", "not_before", "finished_at", "retained_until", "watch", "deadline_at"),
    *("batch", "idem", "webhook", "seq", "untold", "told_at", "pinned"),
}


def pairs(flat: Iterable[bytes]) -> dict[str, str]:
    """Turn Redis's flat list into a dict without what is empty."""
    text = [each.decode() for each in flat]
    return {name: value for name, value in zip(text[::2], text[1::2], strict=True) if value}


class Comparer:
    """Looks at one shard through the wire."""

    def __init__(self, wire: Wire, prefix: str, books: Books) -> None:
        self.wire = wire
        self.prefix = prefix
        self.books = books

    def status(self, identifier: str) -> str:
        """Return a job's state as Redis has it."""
        return self._field(identifier, "status")

    def version(self, identifier: str) -> str:
        """Return the version that a job waits for, as Redis has it."""
        return self._field(identifier, "version")

    def _field(self, identifier: str, name: str) -> str:
        found = self.wire.call("HGET", f"{self.prefix}job:{identifier}", name)
        return found.decode() if found else ""

    def check_touched(self) -> None:
        """Compare the records that calls may have changed since the last look."""
        ids, books = sorted(self.books.touched), self.books
        books.touched.clear()
        rows = self.wire.calls(("HGETALL", f"{self.prefix}job:{each}") for each in ids)
        for identifier, row in zip(ids, rows, strict=True):
            account = books.jobs.get(identifier)
            assert bool(row) == (account is not None), f"{identifier}: {row or 'gone'}"
            if account is not None:
                check_record(account, pairs(row))
        self._check_called()

    def _check_called(self) -> None:
        """Compare the deliveries that calls may have changed since the last look."""
        ids, books = sorted(self.books.called), self.books
        books.called.clear()
        rows = self.wire.calls(
            command
            for each in ids
            for command in (
                ("HGETALL", f"{self.prefix}delivery:{each}"),
                ("LRANGE", f"{self.prefix}called:{each}", 0, -1),
            )
        )
        for each, row, log in zip(ids, rows[::2], rows[1::2], strict=True):
            check_call(books.deliveries[each], pairs(row), log)

    def names(self) -> list[str]:
        """Return the names of all keys of the shard, without its prefix."""
        found = self.wire.call("KEYS", f"{self.prefix}*")
        return sorted(each.decode()[len(self.prefix) :] for each in found)

    def snapshot(self) -> Snapshot:
        """Read all that is there."""
        names, snapshot = self.names(), Snapshot()
        policy, sha = self.books.options.policy, self.wire.shas["look"]
        while names:
            _, rows = self.wire.call("EVALSHA", sha, 1, self.prefix, *policy, *names)
            for name, row in zip(names, rows, strict=True):
                if len(row) == 3:
                    snapshot.add(name, row)
            # One call reads so much and no more.
            left = [name for name, row in zip(names, rows, strict=True) if len(row) > 3]
            assert len(left) < len(names), left
            names = left
        return snapshot

    def check_all(self) -> None:
        """Compare every key; then ask the audit, which must find nothing either."""
        books, there = self.books, self.snapshot()
        books.touched.clear()
        same("jobs", set(there.jobs), set(books.jobs))
        for identifier, record in there.jobs.items():
            check_record(books.jobs[identifier], record)
        self._check_lines(there)
        self._check_hands(there)
        self._check_numbers(there)
        check_calls(books, there)
        for kind, expected in self._belongings().items():
            same(kind, set(there.belongings[kind]), expected)
            for each, left in there.belongings[kind].items():
                self._check_lifetime(books.jobs[each], kind, left)
        same("idem", there.idem, {digest: first for digest, (first, _) in books.idem.items()})
        assert findings(there) == []

    def _check_lifetime(self, account: Account, kind: str, left: int) -> None:
        """What belongs to a job lives for ever until it has ended, then longer than it."""
        if account.retained is None:
            assert left == -1, (account.id, kind, left)
        else:
            last = account.retained + (7 * DAY if account.untold > 0 else 0)
            assert self.books.now + left >= last, f"{kind}:{account.id} ends before its job"

    def _check_lines(self, there: Snapshot) -> None:
        books = self.books
        lanes = {f"lane:{lane}": list(ids.values()) for lane, ids in there.lanes.items()}
        lanes |= {f"pins:{lane}": list(ids.values()) for lane, ids in there.pins.items()}
        same("lanes", lanes, {lane: ids for lane, ids in books.lanes.items() if ids})
        returned = {
            target: {each: RANK[books.jobs[each].job.priority] * 1e13 + books.jobs[each].created
                     for each in ids}
            for target, ids in books.returned.items() if ids
        }  # fmt: skip
        same("returned", dict(there.named("returned", there.zsets)), returned)
        same("due", there.zset("due"), books.due)
        dead = {a.id: a.finished for a in books.jobs.values() if a.status in DEAD}
        same("dead", there.zset("dead"), dead)

    def _check_hands(self, there: Snapshot) -> None:
        books = self.books
        held = {life: jobs for life, jobs in books.held.items() if jobs}
        same("held", dict(there.named("held", there.hashes)), held)
        same("beats", there.zset("beats"), books.beats)
        lives = {
            life: f"{r['model']}@{r['version']}" for life, r in there.named("worker", there.hashes)
        }
        same("lives", lives, {life: target for life, (_, target) in books.lives.items()})

    def _check_numbers(self, there: Snapshot) -> None:
        books = self.books
        for model, counts in there.named("counts", there.hashes):
            mine = Counter(a.status for a in books.jobs.values() if a.job.model == model)
            running = mine[Status.RUNNING] + mine[Status.CANCELING]
            counted = tuple(int(counts.get(group, 0)) for group in ("queued", "running"))
            same(f"counts:{model}", counted, (mine[Status.QUEUED], running))
        index: dict[str, set[str]] = {}
        for account in books.jobs.values():
            index.setdefault(f"{account.job.tenant}:{account.job.model}", set()).add(account.id)
        found = {name: set(ids) for name, ids in there.named("index", there.zsets)}
        same("index", found, index)
        batches = {}
        for identifier, row in there.named("batch", there.hashes):
            counts = {Status(n): int(row[n]) for n in row if n in set(Status) and int(row[n])}
            rest = (int(row["total"]), int(row["created_at"]), int(row["open"]))
            batches[identifier] = (counts, *rest, row.get("finished_at"), int(row.get("untold", 0)))
        same("batches", batches, {each: self._batch(each) for each in books.batches})

    def _batch(self, identifier: str) -> tuple[Any, ...]:
        batch, jobs = self.books.batches[identifier], self.books.jobs
        counts = {status: number for status, number in batch.counts.items() if number}
        open_ = sum(not jobs[each].final for each in batch.members)
        finished = None if batch.finished is None else str(batch.finished)
        return counts, batch.total, batch.created, open_, finished, batch.untold

    def _belongings(self) -> dict[str, set[str]]:
        accounts = self.books.jobs.values()
        return {
            "input": {a.id for a in accounts if a.status != Status.SUCCEEDED},
            "output": {a.id for a in accounts if a.final},
            "extra": {a.id for a in accounts if a.job.extra()},
            "progress": {a.id for a in accounts if a.progress is not None},
            "tries": {a.id for a in accounts if a.tries},
        }

    def check_tries(self) -> None:
        """Compare what is kept of each attempt that did not succeed."""
        accounts = [each for each in self.books.jobs.values() if each.tries]
        key = f"{self.prefix}tries:"
        rows = self.wire.calls(("LRANGE", f"{key}{each.id}", 0, -1) for each in accounts)
        for account, row in zip(accounts, rows, strict=True):
            tries = [json.loads(each) for each in row]
            kept = [(t["life"], t["attempt"], t["reason"], t["charged"]) for t in tries]
            same(f"tries:{account.id}", kept, account.tries)

    def check_eternal(self) -> None:
        """Once all is over and forgotten, nothing is left but what lives for ever."""
        names = self.names()
        same("kinds left", {name.partition(":")[0] for name in names} - ETERNAL - CLEANED, set())
        for name in names:
            if name.startswith("counts:"):
                counts = pairs(self.wire.call("HGETALL", self.prefix + name))
                same(name, set(counts.values()) - {"0"}, set())


DEAD = {Status.FAILED, Status.TIMED_OUT}
