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


@dataclass(frozen=True, slots=True)
class Waiting:
    """Jobs that wait for one version of a model, in no worker's hands."""

    #: Their submits named no version: another may run them, once nobody serves this one.
    free: int = 0
    pinned: int = 0

    def __add__(self, other: Waiting) -> Waiting:
        """Return both together."""
        return Waiting(self.free + other.free, self.pinned + other.pinned)


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
    #: By version, of a model that has several.
    waiting: dict[str, Waiting] = field(default_factory=dict)

    @property
    def ready(self) -> int:
        """How many workers take jobs now."""
        return sum(worker.state == "ready" for worker in self.workers)

    @property
    def backlog_seconds(self) -> float:
        """Learned service time x what waits / ready workers (one, while there is none)."""
        each = self.seconds_per_job or UNKNOWN_SECONDS_PER_JOB
        return self.queued * each / max(1, self.ready)

    def for_workers(self, production: str) -> ModelOverview:
        """Return what workers of this model could run: all but what is pinned to lost versions.

        A version is lost when no worker serves it and it is not in production.
        """
        lost = self._unserved() - {production}
        pinned = sum(self.waiting[version].pinned for version in lost)
        return replace(self, queued=max(0, self.queued - pinned))

    def for_version(self, version: str, production: str) -> ModelOverview:
        """Return what workers of one version could run, and those workers.

        That in production also gets what waits for others that no worker serves, but for what is
        pinned to them. What its workers have claimed and not begun may count as running.
        """
        if not self.waiting:
            return self
        mine = self.waiting.get(version, Waiting())
        queued = mine.free + mine.pinned
        if version == production:
            queued += sum(self.waiting[other].free for other in self._unserved() - {version})
        workers = [worker for worker in self.workers if worker.version == version]
        held = sum(worker.holds for worker in workers)
        running = min(held, self.running)
        return replace(self, queued=queued + held - running, running=running, workers=workers)

    def _unserved(self) -> set[str]:
        # As follow.lua has it: such a worker claims nothing any more.
        serving = {w.version for w in self.workers if w.state not in ("draining", "failed")}
        return self.waiting.keys() - serving


async def overview(
    connections: RedisConnections,
    options: QueueOptions,
    *,
    model: str,
    versions: Sequence[str],
    shards: Sequence[int],
) -> ModelOverview:
    """Read how a model does; raises QueueUnavailable."""
    queued = running = 0
    learned: list[float] = []
    sizes: list[float] = []
    oldest: list[int] = []
    workers: dict[str, WorkerInfo] = {}
    waiting: dict[str, Waiting] = {}
    for shard in shards:
        args = [*options.policy, model, int(options.beat_limit_s * 1000), *versions]
        row = await connections.run(scripts.OVERVIEW, shard, args)
        queued += max(0, row[0])
        running += max(0, row[1])
        learned += [float(row[2])] if row[2] else []
        sizes += [float(row[5])] if row[5] else []
        oldest += [milliseconds_of(identifier.decode()) for identifier in row[3]]
        for version, (free, pinned) in zip(versions, row[6], strict=False):
            waiting[version] = waiting.get(version, Waiting()) + Waiting(free, pinned)
        for flat in row[4]:
            info = _worker(fields_of(flat))
            # Of each shard it tells what it holds there.
            before = workers[info.name].holds if info.name in workers else 0
            workers[info.name] = replace(info, holds=before + info.holds)
    age = time.time() - min(oldest) / 1000 if oldest else 0.0
    each = sum(learned) / len(learned) if learned else None
    size = sum(sizes) / len(sizes) if sizes else None
    found = list(workers.values())
    return ModelOverview(queued, running, each, max(0.0, age), found, size, waiting)


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
    )
