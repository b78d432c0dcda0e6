"""What must come of tries, and what may be done about them."""

from __future__ import annotations

from typing import Any

from .accounts import Call, Failing
from .books import DAY
from .calling import ON_THE_WAY, Events
from .oracle import Packet


class Senders(Events):
    """Judges what senders tell of their tries: only who has a delivery decides about it."""

    def told(self, packet: Packet, answer: Any) -> None:
        limit, *rest = packet.given
        expected = []
        for at in range(0, len(rest), 5):
            identifier, token, verdict, next_at, tried = rest[at : at + 5]
            call, status = self.deliveries.get(identifier), ""
            if call:
                mine, status = call.token == token, call.status
                if verdict == "back":
                    if mine and status == "pending":
                        self._stand(call, "calls", self.now)
                elif call.log[-1:] != [tried]:
                    call.log.append(tried)
                    del call.log[:-50]
                    self.called.add(call.id)
                    self._endpoint(call, verdict, limit)
                    self._note(call, verdict, next_at, mine=mine)
                    status = call.status
            expected.append(status.encode())
        assert answer == expected, (answer, expected)

    def _endpoint(self, call: Call, verdict: str, limit: int) -> None:
        """Note an answer, or nothing but failures since the first of them."""
        if verdict == "delivered":
            self.answered(call.endpoint)
            return
        until = self.now + 30 * DAY
        failing = self.failing.setdefault(call.endpoint, Failing(self.now, until))
        failing.until = until
        self.failed_at[call.endpoint] = self.now
        old = self.now - 30 * DAY
        self.failed_at = {each: at for each, at in self.failed_at.items() if at > old}
        if self.now - failing.since >= limit and not failing.disabled:
            failing.disabled = (self.now, "failing")
        if verdict == "gone" and not failing.disabled:
            failing.disabled = (self.now, "gone")

    def answered(self, endpoint: str) -> None:
        """Forget that an endpoint failed."""
        if self.failing.pop(endpoint, None):
            self.failed_at.pop(endpoint, None)

    def _note(self, call: Call, verdict: str, next_at: Any, *, mine: bool) -> None:
        if verdict == "delivered":
            if call.status != "delivered":
                self._end(call, "delivered")
            return
        if call.status != "pending" or not mine:
            return
        call.tries += 1
        if call.type in ON_THE_WAY:
            self._end(call, "dropped")
        elif self.disabled(call.endpoint):
            self._end(call, "disabled")
        elif verdict == "failed":
            self._end(call, "failed")
        else:
            self._stand(call, "retry", next_at)
            call.next_at, call.token = next_at, ""
            call.until = max(call.until or 0, next_at + 30 * DAY)
            self._list(call.owner)
            self.keep(call.owner, next_at + 2 * DAY)

    def release(self, packet: Packet, answer: Any) -> None:
        waiting = [call for call in self.deliveries.values() if call.place == "retry"]
        due = sorted((call.at, call.id) for call in waiting if call.at <= self.now)
        for at, identifier in due[: packet.given[0]]:
            self._stand(self.deliveries[identifier], "calls", at)
        self.sender_rings += bool(due)
        assert answer == len(due[: packet.given[0]])

    def replay(self, packet: Packet, answer: Any) -> None:
        identifier, owner, tenant = packet.given
        call = self.deliveries.get(identifier)
        assert answer == int(bool(call and (call.owner, call.tenant) == (owner, tenant)))
        if not answer or not call:
            return
        self.failing.pop(call.endpoint, None)
        self.failed_at.pop(call.endpoint, None)
        if call.status == "pending" and call.place != "retry":
            return
        self.undelivered.pop(identifier, None)
        call.status, call.next_at, call.token, call.tries = "pending", None, "", 0
        call.until = self.listed[owner].until = None
        self.keep(owner, self.now + DAY)
        self._stand(call, "calls", self.now)
        self.sender_rings += 1

    def uncall(self, packet: Packet, answer: Any) -> None:
        call = self.deliveries.get(packet.given[0])
        assert answer == int(bool(call and call.status != "pending"))
        if answer and call:
            del self.deliveries[call.id]
            self.called.discard(call.id)
            self.undelivered.pop(call.id, None)
            self._unlist(call)

    def _unlist(self, call: Call) -> None:
        listed = self.listed[call.owner]
        del listed.made[call.id]
        if listed.made:
            self._list(call.owner)
        else:
            del self.listed[call.owner]

    def endpoints(self, packet: Packet, answer: Any) -> None:
        endpoint = packet.given[0]
        if endpoint:
            assert answer == int(self.disabled(endpoint))
            self.failing.pop(endpoint, None)
            self.failed_at.pop(endpoint, None)
            return
        self.failed_at = {e: at for e, at in self.failed_at.items() if e in self.failing}
        assert {row[0].decode() for row in answer} == set(self.failing)

    def expire(self) -> set[str]:
        """Forget what has lived long enough; return the names of those keys."""
        gone = set()
        for owner, listed in list(self.listed.items()):
            if listed.until is not None and listed.until <= self.now:
                gone.add(f"told:{owner}")
                del self.listed[owner]
        for identifier, call in list(self.deliveries.items()):
            if call.until is not None and call.until <= self.now:
                gone.add(f"delivery:{identifier}")
                gone |= {f"called:{identifier}"} if call.log else set()
                self.called.discard(identifier)
                del self.deliveries[identifier]
        for kind, book in (("endpoint", self.failing), ("gone", self.gone)):
            for name in [each for each, one in book.items() if one.until <= self.now]:
                gone.add(f"{kind}:{name}")
                del book[name]
        return gone
