"""What the scripts that clients and the sweep use must answer, and must do to the books."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from jobs.ids import shard_of
from jobs.states import Status

from .accounts import Account, BatchAccount
from .books import DAY, Books


@dataclass(frozen=True, eq=False)
class Packet:
    """One call of a script as it goes over the wire, and what its sender means by it."""

    name: str
    shard: int
    #: The arguments after the policy.
    given: Sequence[Any]
    #: Jobs, claims, outcomes or hand-backs, for those scripts that take several.
    items: Sequence[Any] = ()
    args: Sequence[Any] = ()

    def mine(self) -> list[Any]:
        """Return the items that are of this packet's shard."""
        return [each for each in self.items if shard_of(each.id) == self.shard]


class Clients(Books):
    """Judges each answer of one shard, and keeps its books. `status` looks a job up in Redis,
    and `version` which one it waits for, for the few choices that are Redis's own."""

    status: Callable[[str], str]
    version: Callable[[str], str]

    def judge(self, packet: Packet, answer: Any) -> None:
        """Check an answer and account for what the call did."""
        self.number += 1
        before = len(self.events)
        getattr(self, packet.name)(packet, answer)
        self.sender_rings += len(self.events) > before

    def submit(self, packet: Packet, answer: Any) -> None:
        most, batch, digest, fingerprint, _, webhook, *rest = packet.given
        jobs = packet.items
        width = len(rest) // len(jobs)
        ids = [rest[at * width] for at in range(len(jobs))]
        if batch:
            named = dict(zip(ids, jobs, strict=True))
            made = BatchAccount(len(jobs), self.now, digest, {*ids}, Counter(), webhook)
            self._submit_batch(batch, (made, fingerprint), named, answer)
            return
        before = len(self.jobs)
        for at, (identifier, job) in enumerate(zip(ids, jobs, strict=True)):
            digest = rest[at * width + 9]
            first = self.idem.get(digest)
            if identifier in self.jobs:
                expected = [b"ok", b"%d" % self.jobs[identifier].created]
            elif first:
                verdict = b"replayed" if first[1] == job.fingerprint else b"conflict"
                expected = [verdict, first[0].encode()]
            elif self.queued(job.model) >= most:
                expected = [b"full", self.queued(job.model)]
            else:
                watch = rest[at * width + 13]
                self.enter(Account(identifier, job, self.now, digest=digest, watch=watch))
                expected = [b"ok", self.now]
            assert answer[at] == expected, (answer[at], expected)
        self.rings += len(self.jobs) > before

    def _submit_batch(
        self, batch: str, new: tuple[BatchAccount, str], jobs: Any, answer: Any
    ) -> None:
        model = next(iter(jobs.values())).model
        made, fingerprint = new
        first = self.idem.get(made.digest)
        if batch in self.batches:
            expected = [b"ok", b"%d" % self.batches[batch].created]
        elif first:
            verdict = b"replayed" if first[1] == fingerprint else b"conflict"
            expected = [verdict, first[0].encode()]
        elif self.queued(model) + len(jobs) > self.options.max_queue_depth:
            expected = [b"full", self.queued(model)]
        else:
            made.counts[Status.QUEUED] = len(jobs)
            self.batches[batch] = made
            for identifier, job in jobs.items():
                self.enter(Account(identifier, job, self.now, batch))
            if made.digest:
                self.idem[made.digest] = (batch, fingerprint)
            self.rings += 1
            expected = [b"ok", self.now]
        assert answer == [expected], (answer, expected)

    def cancel(self, packet: Packet, answer: Any) -> None:
        account = self.jobs.get(packet.given[0])
        if account is None or account.job.tenant != packet.given[1]:
            expected = ("missing", "")
        elif account.status in (Status.CANCELING, Status.CANCELED):
            expected = ("ok", account.status)
        elif account.final:
            expected = ("final", account.status)
        elif account.status == Status.QUEUED:
            self.rings += account.place == "held"
            self.end(account, Status.CANCELED)
            expected = ("ended", "canceled")
        else:
            self.rings += 1
            self.become(account, Status.CANCELING)
            expected = ("ok", "canceling")
        assert answer == [each.encode() for each in expected], (answer, expected)

    def delete(self, packet: Packet, answer: Any) -> None:
        account = self.jobs.get(packet.given[0])
        if account is None or account.job.tenant != packet.given[1]:
            expected = ("missing", "")
        elif account.final:
            self.erase(account)
            expected = ("ok", account.status)
        else:
            expected = ("open", account.status)
        assert answer == [each.encode() for each in expected], (answer, expected)

    def read(self, packet: Packet, answer: Any) -> None:
        channel, *ids = packet.given
        for identifier, row in zip(ids, answer, strict=True):
            account = self.jobs.get(identifier)
            assert (row is None) == (account is None), identifier
            if account is None:
                continue
            if channel and not account.final and channel not in account.watch.split():
                account.watch = f"{account.watch} {channel}".strip()
                self.touch(account)
            if channel and not account.final:
                # Who waits is told no more than that.
                assert row[1:] == [None, None, None, None, -1]
                continue
            _, given, output, extra, progress, ahead = row
            kept = None if account.status == Status.SUCCEEDED else account.job.input
            assert (given, output, progress) == (kept, account.output, account.progress)
            assert extra == (account.job.extra() or None)
            if account.status == Status.QUEUED and account.place != "backoff":
                assert ahead == 0 if account.place != "lane" else ahead >= 0
            else:
                assert ahead == -1

    def sweep(self, packet: Packet, answer: Any) -> None:
        page = packet.given[0]
        due = sorted((at, each) for each, at in self.due.items() if at <= self.now)[:page]
        expired, ready = [], 0
        for _, identifier in due:
            account = self.jobs[identifier]
            if account.final:
                self._end_of_life(account)
            elif self.expiry(account) <= self.now:
                self.rings += account.place == "held"
                self.end(account, Status.EXPIRED)
                expired.append([account.job.model.encode(), account.version.encode()])
            else:
                assert account.place == "backoff"
                self.to_line(account)
                ready = 1
        self.rings += ready
        assert answer == [expired, int(len(due) == page)], (answer, expired)

    def follow(self, packet: Packet, answer: Any) -> None:
        """Judge which jobs went on to wait for another version; of a page Redis chooses."""
        life, model, version, production, most, *others = packet.given
        target = f"{model}@{version}"
        served = {serves for _, serves in self.lives.values()}
        may = version == production or f"{model}@{production}" not in served
        first = min((each for each, (_, serves) in self.lives.items() if serves == target
                     and (version == production or each in self.ready)), default="")  # fmt: skip
        lost = {f"{model}@{other}" for other in others if other != version} - served
        if not may or life != first:
            assert answer == 0
            return
        able = [a for a in self.jobs.values() if a.target in lost and not a.job.pinned]
        able = [account for account in able if account.place in ("lane", "returned")]
        moved = [account for account in able if self.version(account.id) == version]
        assert len(moved) == answer <= most
        assert moved == able or most < len(self.jobs), "some were passed over"
        self.rings += bool(moved)
        for account in moved:
            self.returned[account.target] = [
                each for each in self.returned[account.target] if each != account.id
            ]
        for lane in {account.lane for account in moved if account.place == "lane"}:
            count = sum(each.lane == lane for each in moved if each.place == "lane")
            gone, self.lanes[lane] = self.lanes[lane][:count], self.lanes[lane][count:]
            for account in (self.jobs[each] for each in gone):
                assert account in moved, f"{lane} did not follow in order"
                account.version = version
                self.lanes[account.lane].append(account.id)
        for account in moved:
            account.version = version
            if account.place == "returned":
                self.returned[account.target].append(account.id)
            self.touch(account)

    def _is_awaited(self, account: Account) -> bool:
        """Whether an event of it is untold, or one of the newest deliveries still waits."""
        if account.untold > 0:
            return True
        for owner in filter(None, (account.id, account.batch)):
            made = self.listed[owner].made if owner in self.listed else {}
            newest = sorted(made, key=lambda each: (made[each], each))[-10:]
            known = [self.deliveries[each] for each in newest if each in self.deliveries]
            if any(each.status == "pending" for each in known):
                return True
        return False

    def _end_of_life(self, account: Account) -> None:
        """Erase a job, unless its webhook is to be told of it: that may take seven days."""
        assert account.retained is not None
        if account.retained > self.now:
            self.due[account.id] = account.retained
        elif account.retained + 7 * DAY > self.now and self._is_awaited(account):
            self.due[account.id] = self.now + 60_000
        else:
            self.erase(account)
