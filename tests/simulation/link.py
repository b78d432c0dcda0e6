"""The network between the real queue and Redis: it loses, delays, repeats; each call is judged."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from jobs.errors import QueueUnavailable
from jobs.keys import shard_prefix
from jobs.policy import QueueOptions
from jobs.scripts import Script
from jobs.work import Claimed, claimed_from

from .claims import Shard
from .comparing import Comparer, same
from .fleet import Worker
from .oracle import Packet
from .wire import Wire

#: Calls that a superseded token must make void: not a single write is allowed then.
FENCED = {"start", "settle", "hand_back", "progress"}
_WRITES = re.compile(rb"rdb_changes_since_last_save:(\d+)")
NAMESPACE = "hr"


#: How much was tried: for the line that a run leaves.
TALLY: Counter[str] = Counter()


class Link:
    """Stands where RedisConnections stands; `fates` says what befalls the next calls."""

    namespace = NAMESPACE
    client = None

    def __init__(self, wire: Wire, options: QueueOptions, shards: Sequence[int]) -> None:
        self.wire = wire
        self.options = options
        self.shards = {shard: Shard(options) for shard in shards}
        self.comparers: dict[int, Comparer] = {}
        for shard, books in self.shards.items():
            comparer = Comparer(wire, shard_prefix(NAMESPACE, shard), books)
            self.comparers[shard] = comparer
            books.status, books.version = comparer.status, comparer.version
        #: What the next call is about.
        self.items: Sequence[Any] = ()
        #: request: lost on its way there; reply: on its way back; else the call goes through.
        self.fates: list[str] = []
        #: Every call that was ever sent, to be delivered (again) at any later time.
        self.sent: list[Packet] = []
        #: Every process of a worker that there ever was.
        self.processes: list[Worker] = []
        #: Every claim that a life was ever given.
        self.given: list[tuple[str, Claimed]] = []

    async def run(self, script: Script, shard: int, args: Sequence[Any]) -> Any:
        """Run a script as the real connections would."""
        policy = len(self.options.policy)
        assert list(args[:policy]) == self.options.policy
        packet = Packet(script.name, shard, args[policy:], self.items, args)
        fate = self.fates.pop(0) if self.fates else ""
        self.sent.append(packet)
        TALLY["lost"] += bool(fate)
        if fate == "request":
            raise QueueUnavailable("The request was lost.")
        answer = self.deliver(packet)
        if fate == "reply":
            raise QueueUnavailable("The reply was lost.")
        return answer

    async def run_each(
        self, script: Script, args: Mapping[int, Sequence[Any]]
    ) -> tuple[dict[int, Any], QueueUnavailable | None]:
        """Run a script on several shards; return the answers and the first failure."""
        answers, failures = {}, []
        for shard, own in args.items():
            try:
                answers[shard] = await self.run(script, shard, own)
            except QueueUnavailable as error:
                failures.append(error)
        return answers, failures[0] if failures else None

    def deliver(self, packet: Packet) -> Any:
        """Bring a packet to Redis, now or later, and judge what it does there."""
        books = self.shards[packet.shard]
        prefix = self.comparers[packet.shard].prefix
        call = ("EVALSHA", self.wire.shas[packet.name], 1, prefix, *packet.args)
        changes = books.changes
        TALLY["calls"] += 1
        if packet.name in FENCED:
            info = ("INFO", "persistence")
            before, answer, after = self.wire.calls([info, call, info])
            books.judge(packet, answer)
            if books.changes == changes:
                TALLY["refused"] += 1
                written = int(_WRITES.search(after)[1]) - int(_WRITES.search(before)[1])
                assert written == 0, f"a refused {packet.name} wrote {written} times"
        else:
            answer = self.wire.call(*call)
            books.judge(packet, answer)
            if packet.name in ("adopt", "register"):
                self._check_convicted(answer)
            if packet.name == "claim":
                self.given += [(packet.given[0], claimed_from(row)) for row in answer[1]]
        return answer

    def _check_convicted(self, rows: list[list[bytes]]) -> None:
        """A lost worker convicts a job only if no other was on its engine.

        The job itself may have left it: an outcome that is lost with its worker is no outcome.
        """
        for life, identifier, _, verdict, *_ in rows:
            if verdict == b"poisoned":
                engines = [each.engine_of(life.decode()) for each in self.processes]
                [engine] = [each for each in engines if each is not None]
                assert engine <= {identifier.decode()}, (identifier, engine)

    def set_clock(self, now: int) -> None:
        """Let it be this time, for Redis and for the books."""
        over, expected = self.wire.set_clock(now), set()
        for shard, books in self.shards.items():
            books.now = now
            expected |= {shard_prefix(NAMESPACE, shard) + each for each in books.expire()}
        same("keys whose life is over", over, expected)
