"""How a model does: what waits, who serves it, how long the backlog takes."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, replace

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
class ModelOverview:
    """One model over all its shards; `oldest_s` is the age of its oldest waiting job."""

    queued: int
    running: int
    seconds_per_job: float | None
    oldest_s: float
    workers: list[WorkerInfo]
    #: The mean size of a result, None while no worker has told.
    result_bytes: float | None = None

    @property
    def ready(self) -> int:
        """How many workers take jobs now."""
        return sum(worker.state == "ready" for worker in self.workers)

    @property
    def backlog_seconds(self) -> float:
        """Learned service time x what waits / ready workers (one, while there is none)."""
        each = self.seconds_per_job or UNKNOWN_SECONDS_PER_JOB
        return self.queued * each / max(1, self.ready)


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
    for shard in shards:
        args = [*options.policy, model, int(options.beat_limit_s * 1000), *versions]
        row = await connections.run(scripts.OVERVIEW, shard, args)
        queued += max(0, row[0])
        running += max(0, row[1])
        learned += [float(row[2])] if row[2] else []
        sizes += [float(row[5])] if row[5] else []
        oldest += [milliseconds_of(identifier.decode()) for identifier in row[3]]
        for flat in row[4]:
            info = _worker(fields_of(flat))
            # Of each shard it tells what it holds there.
            before = workers[info.name].holds if info.name in workers else 0
            workers[info.name] = replace(info, holds=before + info.holds)
    age = time.time() - min(oldest) / 1000 if oldest else 0.0
    each = sum(learned) / len(learned) if learned else None
    size = sum(sizes) / len(sizes) if sizes else None
    return ModelOverview(queued, running, each, max(0.0, age), list(workers.values()), size)


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
