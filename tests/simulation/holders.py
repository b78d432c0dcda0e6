"""What the scripts of workers must answer, and what they must do to the books."""

from __future__ import annotations

from typing import Any

from jobs.states import FINAL, Status

from .accounts import Account
from .oracle import Clients, Packet


class Holders(Clients):
    """Judges what workers do: only the owner of a job, by its token, changes anything."""

    def owned(self, identifier: str, token: str, life: str) -> Account | None:
        """Return a job if its token and owner are these."""
        account = self.jobs.get(identifier)
        if account and account.token == token and account.worker == life:
            return account
        return None

    def bury(self, life: str, limit: int, reason: str) -> list[list[bytes]]:
        """Take back what a dead life holds, a page of it; return the rows of the answer."""
        self.lives.pop(life, None)
        self.changes += 1
        held = list(self.held[life])
        rows = []
        for identifier in held[:limit]:
            account = self.jobs[identifier]
            was = account.status
            account.vanished += was == Status.QUEUED
            verdict = self.give_back(account, reason, charge=True, alone=bool(account.alone))
            account.token = ""
            of = (account.job.model, account.version)
            rows.append([each.encode() for each in (life, identifier, was, verdict, *of)])
        self.rings += bool(rows)
        if len(held) > limit:
            self.beats[life] = 0
        else:
            self.beats.pop(life, None)
            assert not self.held.pop(life)
        return rows

    def adopt(self, packet: Packet, answer: Any) -> None:
        limit, unbroken, most = packet.given
        rows: list[list[bytes]] = []
        if unbroken >= limit:
            self.beats = {life: min(at, self.now) for life, at in self.beats.items()}
            self.changes += 1
            for at, life in sorted((at, life) for life, at in self.beats.items()):
                if at <= self.now - limit and len(rows) < most:
                    rows += self.bury(life, most - len(rows), "worker_lost")
        assert answer == rows, (answer, rows)

    def register(self, packet: Packet, answer: Any) -> None:
        life, name, *pairs = packet.given
        info = dict(zip(pairs[::2], pairs[1::2], strict=True))
        rows = []
        for _, other in sorted((at, life) for life, at in self.beats.items()):
            if other != life and other.rpartition(":")[0] == name:
                rows += self.bury(other, 2000, "worker_restarted")
        self.beats[life] = self.now
        self.lives[life] = (name, f"{info['model']}@{info['version']}")
        self.ready.discard(life)
        self.changes += 1
        assert answer == rows, (answer, rows)

    def leave(self, packet: Packet, answer: Any) -> None:
        (life,) = packet.given
        held = list(self.held.pop(life, {}))
        jobs = [self.jobs[identifier] for identifier in held]
        back = [self.give_back(job, "worker_left", charge=False, alone=False) for job in jobs]
        self.lives.pop(life, None)
        self.beats.pop(life, None)
        self.changes += 1
        self.rings += bool(held)
        assert answer == back.count("canceled"), (answer, held)

    def beat(self, packet: Packet, answer: Any) -> None:
        life, pairs = packet.given[0], packet.given[1]
        alive, unheld, canceling, lost = answer
        assert alive == (life in self.lives)
        if not alive:
            assert answer == [0, [], [], []]
            return
        self.beats[life] = self.now
        self.ready.add(life)
        self.changes += 1
        named, owned = set(packet.given[2 + 2 * pairs :]), self.held.get(life, {})
        flat = [part for each in owned if each not in named for part in (each, owned[each])]
        assert unheld == [part.encode() for part in flat], (unheld, flat)
        assert {each.decode() for each in lost} == named - set(owned)
        asked = {each for each in owned if self.jobs[each].status == Status.CANCELING}
        assert {each.decode() for each in canceling} == asked & named

    def start(self, packet: Packet, answer: Any) -> None:
        life, size = packet.given[:2]
        verdicts = []
        for each in packet.mine():
            account = self.jobs.get(each.id)
            verdict = "lost"
            if account and account.status == Status.CANCELED and account.token == each.token:
                verdict = "canceled"
            elif life in self.lives and (mine := self.owned(each.id, each.token, life)):
                if mine.status == Status.QUEUED and mine.late(self.now):
                    self.end(mine, Status.EXPIRED)
                    verdict = "expired"
                elif mine.status == Status.QUEUED:
                    mine.alone = size == 1 and mine.suspect
                    self.begin(mine, size)
                    verdict = "ok"
                elif not mine.final:
                    verdict = "ok"
            verdicts.append(verdict.encode())
        assert answer == verdicts, (answer, verdicts)

    def progress(self, packet: Packet, answer: Any) -> None:
        taken = 0
        for identifier, token, text in packet.items:
            mine = self.owned(identifier, token, packet.given[0])
            if mine and mine.status == Status.RUNNING:
                mine.progress = text
                taken += 1
                self.touch(mine)
                if "progress" in mine.wanted and self.now - (mine.told_at or 0) >= 500:
                    mine.told_at = self.now
                    self.tell(mine, "progress")
        assert answer == taken

    def hand_back(self, packet: Packet, answer: Any) -> None:
        verdicts = []
        for each in packet.mine():
            mine = self.owned(each.id, each.token, packet.given[0])
            verdict = "stale"
            if mine and not mine.final:
                reason = each.reason or "handed_back"
                verdict = self.give_back(mine, reason, charge=each.charge, alone=each.alone)
            verdicts.append(verdict.encode())
        self.rings += any(each != b"stale" for each in verdicts)
        assert answer == verdicts, (answer, verdicts)

    def settle(self, packet: Packet, answer: Any) -> None:
        mine = list(packet.mine())
        running = [self.jobs[each.id] for each in mine if each.id in self.jobs]
        waiting = sum(account.place == "returned" for account in running)
        verdicts = [self._settle(each, packet.given[0]).encode() for each in mine]
        # Who is idle may take what has come back.
        self.rings += sum(account.place == "returned" for account in running) > waiting
        assert answer == verdicts, (answer, verdicts)

    def _settle(self, each: Any, life: str) -> str:
        account = self.jobs.get(each.id)
        if account is None or account.token != each.token:
            return "stale"
        if account.worker != life or account.final:
            return self._told(account, each.kind, life)
        if account.status == Status.CANCELING:
            self.end(account, Status.CANCELED)
            return "canceled"
        return self._settle_own(account, each)

    def _settle_own(self, account: Account, each: Any) -> str:
        if each.kind == "retry":
            self.note_try(account, each.code or each.kind)
            self.delay(account, int(each.backoff_s * 1000))
            return "retry"
        if account.status == Status.QUEUED and each.kind != "failed":
            return "stale"
        if each.kind == "canceled":
            self.note_try(account, "not_canceled")
            self.to_line(account)
            return "stale"
        if each.kind in ("failed", "timed_out"):
            self.note_try(account, each.code or each.kind)
        assert Status(each.kind) in FINAL
        self.finish(account, Status(each.kind), each.payload)
        return "ok"

    def _told(self, account: Account, kind: str, life: str) -> str:
        """What is said of a job that an earlier call, whose answer was lost, may have ended."""
        if account.final and account.worker == life:
            if account.status == kind:
                return "already"
            return "canceled" if account.status == Status.CANCELED else "stale"
        waits = not account.final and kind == "retry" and account.place == "backoff"
        return "already" if waits else "stale"
