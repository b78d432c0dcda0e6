"""How events must become deliveries, and who may have them."""

from __future__ import annotations

from typing import Any

from .accounts import Call, Event, Listed
from .books import DAY
from .comparing import check_record, pairs
from .holders import Holders
from .oracle import Packet

#: Told once, if at all.
ON_THE_WAY = ("job.started", "job.progress")


class Events(Holders):
    """Judges how events become deliveries, one each, and in whose hands those are."""

    def untold(self, packet: Packet, answer: Any) -> None:
        by_number = {(each.owner, each.seq): each for each in self.outbox}
        rows = []
        for row in answer:
            event = by_number[row[2].decode(), int(row[3])]
            assert (row[1].decode(), int(row[4])) == (event.type, event.at)
            event.entry = row[0].decode()
            self._check_told_of(event, row)
            rows.append(event)
        # What happened in one call may stand in any order.
        oldest = [each.number for each in self.outbox][: int(packet.given[0])]
        assert [each.number for each in rows] == oldest, (rows, self.outbox)

    def _check_told_of(self, event: Event, row: Any) -> None:
        _, _, _, _, _, flat, output, size, extra, progress = row
        record, account = pairs(flat), self.jobs.get(event.owner)
        assert record, f"nothing is left of {event.owner} to tell of"
        if account:
            check_record(account, record)
            mine = (account.output, account.job.extra() or None, account.progress)
            assert (output, extra, progress) == mine
            assert size == len(output or b"")
        elif event.owner in self.batches:
            assert record["finished_at"] == str(self.batches[event.owner].finished)
        else:
            assert (extra or b"") == self.gone[event.owner].extra
            assert record["tenant"]

    # Deliveries ------------------------------------------------------------------------------

    def post(self, packet: Packet, answer: Any) -> None:
        sender, lease, *rest = packet.given
        left = False
        for at, token in zip(range(0, len(rest), 10), answer, strict=True):
            entry, identifier, owner, tenant, kind, _, endpoint, _, body = rest[at : at + 9]
            event = next((each for each in self.outbox if each.entry == entry), None)
            mine = b""
            if event:
                self.outbox.remove(event)
                self.was_told(owner)
                event.became = identifier or "forgotten"
            # What is told once is not kept for one who hears nothing.
            vain = kind in ON_THE_WAY and self.disabled(endpoint)
            if event and vain:
                event.became = "forgotten"
            elif event and identifier:
                assert (event.owner, event.type) == (owner, kind)
                call = Call(identifier, owner, tenant, kind, endpoint, body, self.now, None)
                self._make(call, self.now + lease if lease else self.now)
                left |= not lease and call.status == "pending"
                if lease and call.status == "pending":
                    self._mint(call, token, sender)
                    mine = token
            elif identifier and lease:
                known = self.deliveries.get(identifier)
                own = (known and known.status == "pending" and known.token) or ""
                mine = own.encode() if own.startswith(f"{sender}:") else b""
            assert token == mine, (token, mine)
        self.sender_rings += left

    def _mint(self, call: Call, token: bytes, sender: str) -> None:
        call.token = token.decode()
        assert call.token.startswith(f"{sender}:")
        assert call.token not in self.tokens, "a token was given twice"
        self.tokens.add(call.token)

    def _make(self, call: Call, at: int) -> None:
        assert call.id not in self.deliveries
        self.deliveries[call.id] = call
        listed = self.listed.setdefault(call.owner, Listed())
        listed.made[call.id], listed.until = self.now, None
        self.keep(call.owner, self.now + DAY)
        if self.disabled(call.endpoint):
            self._end(call, "disabled")
        else:
            self._stand(call, "calls", at)

    def _stand(self, call: Call, place: str, at: int) -> None:
        call.place, call.at = place, at
        self.called.add(call.id)
        self.changes += 1

    def disabled(self, endpoint: str) -> bool:
        """Whether nothing is sent to an endpoint."""
        return endpoint in self.failing and self.failing[endpoint].disabled is not None

    def _end(self, call: Call, status: str) -> None:
        self._stand(call, "", 0)
        if status == "disabled" and call.type in ON_THE_WAY:
            status = "dropped"
        call.status, call.next_at, call.token = status, None, ""
        old = self.now - 7 * DAY
        self.undelivered = {each: at for each, at in self.undelivered.items() if at > old}
        if status in ("failed", "disabled"):
            self.undelivered[call.id] = self.now
        else:
            self.undelivered.pop(call.id, None)
        call.until = self.now + 7 * DAY
        self._list(call.owner)
        self.keep(call.owner, self.now + DAY)

    def _list(self, owner: str) -> None:
        """The list of deliveries lives as the last of them."""
        lives = [self.deliveries[each].until for each in self.listed[owner].made
                 if each in self.deliveries]  # fmt: skip
        if not lives:
            del self.listed[owner]
            return
        known = [each for each in lives if each is not None]
        self.listed[owner].until = max(known) if len(known) == len(lives) else None

    def lease(self, packet: Packet, answer: Any) -> None:
        sender, lease, most, each, *pairs_ = packet.given
        room = dict(zip(pairs_[::2], pairs_[1::2], strict=True))
        now, next_at, rows = answer
        taken: list[Call] = []
        lines = sorted((at, name) for name, at in self.lines().items())
        for at, endpoint in lines:
            free = min(room.get(endpoint, each), most - len(taken))
            if len(taken) >= most or at > self.now:
                break
            calls = self.calls_of(endpoint)
            if self.disabled(endpoint):
                for call in calls:
                    self._end(call, "disabled")
                continue
            for call in [one for one in calls if one.at <= self.now][: max(0, free)]:
                self._stand(call, "calls", self.now + lease)
                taken.append(call)
        assert len(taken) == len(rows), (taken, rows)
        for call, row in zip(taken, rows, strict=True):
            assert [row[at].decode() for at in (0, 1, 2, 3, 5)] == [
                *(call.id, call.owner, call.tenant, call.type, call.endpoint)
            ]
            assert (row[7], int(row[8])) == (call.body, call.tries)
            self._mint(call, row[9], sender)
        later = [at for at in self.lines().values() if at > self.now]
        expected = self.now if len(taken) >= most else min(later, default=None)
        assert (now, int(next_at) if next_at else None) == (self.now, expected)

    def calls_of(self, endpoint: str) -> list[Call]:
        """Return what is to be sent to an endpoint, the first first."""
        all_ = self.deliveries.values()
        calls = [each for each in all_ if each.place == "calls" and each.endpoint == endpoint]
        return sorted(calls, key=lambda call: (call.at, call.id))

    def lines(self) -> dict[str, int]:
        """Return the endpoints with calls, and the time of the first of each."""
        first: dict[str, int] = {}
        for call in self.deliveries.values():
            if call.place == "calls":
                first[call.endpoint] = min(call.at, first.get(call.endpoint, call.at))
        return first
