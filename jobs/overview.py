"""How a model does: what waits, who serves it, how long the backlog takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from jobs import scripts
from jobs.connection import RedisConnections
from jobs.ids import milliseconds_of
from jobs.job import fields_of
from jobs.policy import QueueOptions

#: Before anything was learned, a job is taken to cost this.
UNKNOWN_SECONDS_PER_JOB = 1.0


@dataclass(frozen=True, slots=True)
class WorkerInfo:
    """A live worker's own account of itself."""

    name: str
    life: str
    version: str
    state: str
    reason: str
    device: str
    beat_at: int
    #: jobs in its hands now, claimed or running
    holds: int = 0
    #: there for clients who pin its version
    pinned_only: bool = False


@dataclass(frozen=True, slots=True)
class VersionLoad:
    """How much there is to do for one version of a model."""

    #: In lanes (a bounded look) or to run again.
    waiting: int = 0
    #: All that have not ended and whose submit named this version: no other may run them.
    pinned: int = 0

    def __add__(self, other: VersionLoad) -> VersionLoad:
        """Return both together."""
        return VersionLoad(self.waiting + other.waiting, self.pinned + other.pinned)


@dataclass(frozen=True, slots=True)
class ModelOverview:
    """One model over all its shards; `oldest_s` is the age of its oldest waiting job."""

    queued: int
    running: int
    seconds_per_job: float | None
    oldest_s: float
    workers: list[WorkerInfo]
    #: The mean size of a result, None while no worker has told.
    result_bytes: float | None = None
    versions: dict[str, VersionLoad] = field(default_factory=dict)
    #: The version that unpinned submits get.
    production: str = ""

    @property
    def ready(self) -> int:
        """How many workers take jobs now."""
        return sum(worker.state == "ready" for worker in self.workers)

    @property
    def served(self) -> set[str]:
        """Versions with a worker that claims jobs, or will; as follow.lua has it."""
        return {w.version for w in self.workers if w.state not in ("draining", "failed")}

    @property
    def lost(self) -> int:
        """How many wait that no worker of now, nor the next one, may run."""
        gone = self.versions.keys() - self.served - {self.production}
        held = sum(worker.holds for worker in self.workers if worker.version in gone)
        return max(0, sum(self.versions[version].pinned for version in gone) - held)

    @property
    def backlog_seconds(self) -> float:
        """Learned service time x what waits / ready workers (one, while there is none)."""
        each = self.seconds_per_job or UNKNOWN_SECONDS_PER_JOB
        return max(0, self.queued - self.lost) * each / max(1, self.ready)

    def for_production(self) -> ModelOverview:
        """Return it without what is pinned to other versions, and without workers kept for that.

        What named no version counts, whichever it waits for: it is run there, or follows.
        """
        pins = sum(
            load.pinned for version, load in self.versions.items() if version != self.production
        )
        workers = [worker for worker in self.workers if not worker.pinned_only]
        return self._of(self.queued + self.running - pins, workers)

    def for_version(self, version: str) -> ModelOverview:
        """Return what is pinned to one version, and the workers of that version."""
        pins = self.versions.get(version, VersionLoad()).pinned
        return self._of(pins, [each for each in self.workers if each.version == version])

    def _of(self, work: int, workers: list[WorkerInfo]) -> ModelOverview:
        held = sum(worker.holds for worker in workers)
        running = max(0, min(self.running, held, work))
        queued = max(0, work - running)
        return replace(self, queued=queued, running=running, workers=workers, versions={})


async def overview(
    connections: RedisConnections,
    options: QueueOptions,
    *,
    model: str,
    versions: Sequence[str],
    shards: Sequence[int],
    production: str = "",
) -> ModelOverview:
    """Read how a model does; raises QueueUnavailable."""
    queued = running = 0
    learned: list[float] = []
    sizes: list[float] = []
    oldest: list[int] = []
    workers: dict[str, WorkerInfo] = {}
    loads: dict[str, VersionLoad] = {}
    for shard in shards:
        args = [*options.policy, model, int(options.beat_limit_s * 1000), *versions]
        row = await connections.run(scripts.OVERVIEW, shard, args)
        queued += max(0, row[0])
        running += max(0, row[1])
        learned += [float(row[2])] if row[2] else []
        sizes += [float(row[5])] if row[5] else []
        oldest += [milliseconds_of(identifier.decode()) for identifier in row[3]]
        for version, load in zip(versions, row[6], strict=True):
            loads[version] = loads.get(version, VersionLoad()) + VersionLoad(*load)
        for flat in row[4]:
            info = _worker(fields_of(flat))
            # Of each shard it tells what it holds there.
            before = workers[info.name].holds if info.name in workers else 0
            workers[info.name] = replace(info, holds=before + info.holds)
    age = time.time() - min(oldest) / 1000 if oldest else 0.0
    each = sum(learned) / len(learned) if learned else None
    size = sum(sizes) / len(sizes) if sizes else None
    return ModelOverview(
        queued=queued,
        running=running,
        seconds_per_job=each,
        oldest_s=max(0.0, age),
        workers=list(workers.values()),
        result_bytes=size,
        versions=loads,
        production=production,
    )


def _worker(record: dict[str, str]) -> WorkerInfo:
    return WorkerInfo(
        name=record.get("name", ""),
        life=record["life"],
        version=record.get("version", ""),
        state=record.get("state", "loading"),
        reason=record.get("reason", ""),
        device=record.get("device", ""),
        beat_at=int(record["beat_at"]),
        holds=int(record.get("holds", 0)),
        pinned_only=record.get("pinned_only") == "1",
    )
