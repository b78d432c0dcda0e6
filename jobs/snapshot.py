"""All keys of one shard, read for the audit."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

from jobs import keys, scripts
from jobs.connection import RedisConnections, translated
from jobs.policy import QueueOptions
from jobs.shards import SHARDS

#: Keys read by one call: it must not hold up Redis.
_PAGE = 500
#: Kinds of keys that hold one job's payload or history, by the job's id.
BELONGINGS = ("input", "output", "extra", "progress", "tries")
#: Kinds that live for ever, or say nothing of a single job.
_ETERNAL = ("bell", "outbox", "fence", "stats", "format")


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
    #: lane -> entry -> job id.
    lanes: dict[str, dict[str, str]] = field(default_factory=dict)
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

    def named(self, kind: str, keys_of: dict[str, Any]) -> Iterator[tuple[str, Any]]:
        """Yield (rest of the name, value) of each key of a kind."""
        for name, value in keys_of.items():
            if name.startswith(kind + ":"):
                yield name[len(kind) + 1 :], value

    def add(self, name: str, row: Sequence[Any]) -> None:
        """Take in a key as the look script answers it."""
        type_, value, ttl = row[0].decode(), row[1], int(row[2])
        kind, _, rest = name.partition(":")
        if kind in self.belongings:
            self.belongings[kind][rest] = ttl
        elif kind == "job":
            self.jobs[rest] = {name: text for name, text in _pairs(value) if text}
        elif kind == "lane":
            self.lanes[rest] = {entry[0].decode(): entry[1][1].decode() for entry in value}
        elif kind == "idem":
            self.idem[rest] = value.decode().partition(" ")[0]
        elif kind in _ETERNAL:
            return
        elif type_ == "zset":
            self.zsets[name] = {member: float(score) for member, score in _pairs(value)}
        elif type_ == "hash":
            self.hashes[name] = dict(_pairs(value))
        else:
            self.unknown.append(name)


def _pairs(flat: Sequence[bytes]) -> Iterator[tuple[str, str]]:
    for at in range(0, len(flat), 2):
        yield flat[at].decode(), flat[at + 1].decode()


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
    snapshot = Snapshot()
    for start in range(0, len(names), _PAGE):
        page = names[start : start + _PAGE]
        now, rows = await connections.run(scripts.LOOK, shard, [*options.policy, *page])
        snapshot.now = int(now)
        for name, row in zip(page, rows, strict=True):
            if row:
                snapshot.add(name, row)
    return snapshot


def prefix(connections: RedisConnections, shard: int) -> str:
    """Return what the names of a shard's keys begin with."""
    return keys.shard_prefix(connections.namespace, shard)
