"""What a claim may give: who is next, who is too late, and what may be stolen."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from jobs.states import Status

from .accounts import Account
from .oracle import Packet
from .results import Senders

#: So many late jobs at most are ended by one claim.
MOST_EXPIRED = 256


class Shard(Senders):
    """The oracle of one shard, with its claims. Which lane is served next is not its subject;
    that each is served in order, and none is passed over while there is room, is."""

    def claim(self, packet: Packet, answer: Any) -> None:
        """Check a claim's rows against what waits."""
        life, model, version, count, start, steal = packet.given
        alive, rows, expired = answer
        assert alive == (life in self.lives)
        if not alive:
            assert answer == [0, [], 0]
            return
        target = f"{model}@{version}"
        assert len(rows) <= count
        claimed = [self.jobs[row[0].decode()] for row in rows]
        assert all(each.target == target for each in claimed)
        late, fresh = self._again(target, count, claimed)
        assert all(each.place in ("lane", "held") for each in fresh)
        stolen = [each for each in fresh if each.place == "held"]
        late += self._lanes(target, [each for each in fresh if each.place == "lane"])
        if stolen:
            assert steal == "1"
            assert stolen == claimed
        if steal == "1" and (stolen or not claimed):
            late += self._steal(life, target, count, stolen)
        if len(rows) < count and expired < MOST_EXPIRED:
            left = [each for lane in self._lanes_of(target) for each in self.lanes[lane]]
            assert not left, f"a claim of {count} passed over {left}"
        assert late == expired, (late, expired)
        self._take(life, rows, claimed, start=start == "1")

    def _expire(self, account: Account) -> int:
        assert account.late(self.now), f"{account.id} was passed over"
        self.end(account, Status.EXPIRED)
        return 1

    def _again(self, target: str, count: int, claimed: list[Account]) -> tuple[int, list[Account]]:
        """Jobs to run again come first: return how many were late, and those claimed besides."""
        rest, late = list(claimed), 0
        for account in self.line(target)[:count]:
            if account.late(self.now):
                late += self._expire(account)
            else:
                assert rest, f"{account.id} was passed over"
                assert rest.pop(0) is account, f"{account.id} was passed over"
        return late, rest

    def _lanes_of(self, target: str) -> list[str]:
        return [lane for lane, ids in self.lanes.items() if ids and f":{target}:" in lane]

    def _lanes(self, target: str, fresh: list[Account]) -> int:
        late = 0
        wanted = set(fresh)
        for lane in self._lanes_of(target):
            mine = [each for each in fresh if each.lane == lane]
            for identifier in list(self.lanes[lane]):
                account = self.jobs[identifier]
                if account in wanted:
                    assert account is mine.pop(0), f"{lane} is not served in order"
                    # Out of the way for the next; the rest of the claim is accounted below.
                    self.lanes[lane].remove(identifier)
                    account.place = ""
                elif account.late(self.now) and (mine or self.status(identifier) == "expired"):
                    late += self._expire(account)
                else:
                    break
            assert not mine, f"{lane} is not served in order"
        return late

    def _steal(self, life: str, target: str, count: int, stolen: list[Account]) -> int:
        late = 0
        victims = {each.worker for each in stolen}
        assert len(victims) <= 1
        for other, (_, serves) in self.lives.items():
            waiting = [self.jobs[each] for each in self.held.get(other, ())]
            waiting = [each for each in waiting if each.status == Status.QUEUED]
            if other == life or serves != target:
                assert other not in victims
                continue
            ended = [each for each in waiting if each.late(self.now)]
            ended = [each for each in ended if self.status(each.id) == "expired"]
            taken = [each for each in stolen if each.worker == other]
            assert set(taken) <= set(waiting)
            assert len(taken) + len(ended) <= min(count, (len(waiting) + 1) // 2)
            if not stolen and waiting:
                assert ended, f"{life} is idle and left all to {other}"
            late += sum(self._expire(each) for each in ended)
        return late

    def _take(self, life: str, rows: Sequence[Any], claimed: list[Account], *, start: bool) -> None:
        began = sum(start and not each.suspect for each in claimed)
        tokens = {row[1].decode() for row in rows}
        assert not tokens & self.tokens, "a token was given twice"
        self.tokens |= tokens
        for row, account in zip(rows, claimed, strict=True):
            job, begins = account.job, start and not account.suspect
            row_deadline = b"%d" % account.deadline if account.deadline is not None else b""
            assert account.status == Status.QUEUED
            self.hold(account, life, row[1].decode())
            if begins:
                self.begin(account, began)
            suspected = account.crashes or int(account.suspect)
            assert row[2:5] == [job.input, job.tenant.encode(), job.priority.encode()]
            assert [int(each) for each in row[5:7]] == [account.retries + 1, suspected]
            assert [row[8], int(row[10]), row[11]] == [row_deadline, account.created, int(begins)]
