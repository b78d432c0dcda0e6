"""All keys of one shard, read for the audit."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs import keys, scripts
from jobs.connection import RedisConnections, translated
from jobs.policy import QueueOptions
from jobs.shards import SHARDS

#: Keys, and elements of a large one, read by one call: it must not hold up Redis.
_PAGE = 200
_ELEMENTS = 2000
#: MOST of look.lua: a key of more elements is read in pages of its own.
_MOST = 5000
#: Fields of a row of a key that was too much for one call.
_TOO_MUCH = 4
#: Kinds of keys that hold one job's payload or history, by the job's id.
BELONGINGS = ("input", "output", "extra", "progress", "tries")
#: Kinds that live for ever, or say nothing of a single job.
_ETERNAL = ("bell", "fence", "stats", "format")


@dataclass(slots=True)
class Snapshot:
    """One shard; names are without its prefix, empty fields of records are left out."""

    #: Redis's clock, in milliseconds, when the last page was read.
    now: int = 0
    jobs: dict[str, dict[str, str]] = field(default_factory=dict)
    #: kind -> job id -> milliseconds to live, -1 for ever.
    belongings: dict[str, dict[str, int]] = field(
        default_factory=lambda: {kind: {} for kind in BELONGINGS}
    )
    #: lane -> entry -> job id; `pins` has those whose submit named the version.
    lanes: dict[str, dict[str, str]] = field(default_factory=dict)
    pins: dict[str, dict[str, str]] = field(default_factory=dict)
    #: entry of the outbox -> the job or batch that it is about.
    outbox: dict[str, str] = field(default_factory=dict)
    #: delivery -> owner, status, endpoint.
    deliveries: dict[str, dict[str, str]] = field(default_factory=dict)
    #: deliveries with a log of tries.
    called: set[str] = field(default_factory=set)
    zsets: dict[str, dict[str, float]] = field(default_factory=dict)
    hashes: dict[str, dict[str, str]] = field(default_factory=dict)
    #: digest -> id of the job or batch.
    idem: dict[str, str] = field(default_factory=dict)
    unknown: list[str] = field(default_factory=list)

    def zset(self, name: str) -> dict[str, float]:
        """Return a sorted set, empty when there is none."""
        return self.zsets.get(name, {})

    def hash(self, name: str) -> dict[str, str]:
        """Return a hash, empty when there is none."""
        return self.hashes.get(name, {})

    def standing(self) -> int:
        """Return a number that is another once a job or a delivery has come, gone, or moved."""
        jobs = (
            (identifier, job.get("status"), job.get("token"), job.get("entry"))
            for identifier, job in self.jobs.items()
        )
        deliveries = (
            (identifier, each.get("status"), each.get("endpoint"), identifier in waiting)
            for waiting in [self.zset("retry")]
            for identifier, each in self.deliveries.items()
        )
        return hash((frozenset(jobs), frozenset(deliveries), frozenset(self.outbox)))

    def named(self, kind: str, keys_of: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        """Yield (rest of the name, value) of each key of a kind."""
        for name, value in keys_of.items():
            if name.startswith(kind + ":"):
                yield name[len(kind) + 1 :], value

    def add(self, name: str, row: Sequence[Any]) -> None:
        """Take in a key as the look script answers it, or the next page of one that is large."""
        type_, value, ttl = row[0].decode(), row[1], int(row[2])
        kind, _, rest = name.partition(":")
        if kind in self.belongings:
            self.belongings[kind][rest] = ttl
        elif kind in _ETERNAL:
            return
        elif take := self._takers().get(kind):
            take(rest, value)
        elif type_ == "zset":
            scores = {member: float(score) for member, score in _pairs(value)}
            self.zsets.setdefault(name, {}).update(scores)
        elif type_ == "hash":
            self.hashes.setdefault(name, {}).update(_pairs(value))
        else:
            self.unknown.append(name)

    def _takers(self) -> dict[str, Callable[[str, Any], None]]:
        return {
            "job": self._add_job,
            "lane": lambda rest, value: _add_entries(self.lanes, rest, value),
            "pins": lambda rest, value: _add_entries(self.pins, rest, value),
            "outbox": self._add_outbox,
            "delivery": lambda rest, value: self.deliveries.update({rest: dict(_pairs(value))}),
            "called": lambda rest, _: self.called.add(rest),
            "idem": self._add_idem,
        }

    def _add_job(self, rest: str, value: Any) -> None:
        self.jobs[rest] = {name: text for name, text in _pairs(value) if text}

    def _add_outbox(self, _: str, value: Any) -> None:
        self.outbox.update({entry[0].decode(): _owner(entry[1]) for entry in value})

    def _add_idem(self, rest: str, value: Any) -> None:
        self.idem[rest] = value.decode().partition(" ")[0]


def _add_entries(lines: dict[str, dict[str, str]], lane: str, value: Any) -> None:
    page = {entry[0].decode(): entry[1][1].decode() for entry in value}
    lines.setdefault(lane, {}).update(page)


def _pairs(flat: Sequence[bytes]) -> Iterator[tuple[str, str]]:
    for at in range(0, len(flat), 2):
        yield flat[at].decode(), flat[at + 1].decode()


def _owner(event: Sequence[bytes]) -> str:
    fields = dict(_pairs(event))
    return fields.get("job") or fields.get("batch", "")


async def shard_keys(connections: RedisConnections) -> dict[int, list[str]]:
    """Return the names of all keys by shard, without the prefix; walks the whole database."""
    found: dict[int, list[str]] = {}
    start = f"{connections.namespace}:{{s"
    with translated():
        async for key in connections.client.scan_iter(match=f"{start}*", count=1000):
            number, _, name = key.decode()[len(start) :].partition("}:")
            if number.isdecimal() and int(number) < SHARDS:
                found.setdefault(int(number), []).append(name)
    return found


async def read_snapshot(
    connections: RedisConnections, options: QueueOptions, shard: int, names: Sequence[str]
) -> Snapshot:
    """Read these keys of a shard, page by page; what changes meanwhile may look torn."""
    snapshot, start = Snapshot(), prefix(connections, shard)
    waiting = list(reversed(names))
    while waiting:
        page = [waiting.pop() for _ in range(min(_PAGE, len(waiting)))]
        now, rows = await connections.run(scripts.LOOK, shard, [*options.policy, *page])
        snapshot.now = int(now)
        for name, row in zip(page, rows, strict=True):
            if row and len(row) == _TOO_MUCH:
                if row[3] <= _MOST:
                    waiting.append(name)
                    continue
                async for part in _pages(connections, start + name, row[0]):
                    snapshot.add(name, [row[0], part, row[2]])
            elif row:
                snapshot.add(name, row)
    return snapshot


async def _pages(
    connections: RedisConnections, key: str, type_: bytes
) -> AsyncIterator[Sequence[Any]]:
    """Read a large key part by part; what stays while it is read is in one of them."""
    if type_ == b"stream":
        after = b"-"
        while True:
            with translated():
                part = await connections.command(["XRANGE", key, after, "+", "COUNT", _ELEMENTS])
            if not part:
                return
            yield part
            after = b"(" + part[-1][0]
    scan = "HSCAN" if type_ == b"hash" else "ZSCAN"
    cursor: bytes | None = None
    # Unlike by rank, none is passed over when those before it leave meanwhile.
    while cursor != b"0":
        with translated():
            cursor, part = await connections.command(
                [scan, key, cursor or b"0", "COUNT", _ELEMENTS]
            )
        yield part


def prefix(connections: RedisConnections, shard: int) -> str:
    """Return what the names of a shard's keys begin with."""
    return keys.shard_prefix(connections.namespace, shard)
