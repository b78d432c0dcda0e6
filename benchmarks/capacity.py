"""The arithmetic of docs/capacity.md: from a load to the processes that it needs.

Symbols as on that page. Nothing here measures: `COSTS` are what `python -m benchmarks capacity`
found on the machine that the page names, and prints beside what it finds on yours.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

#: Shards of an installation: a Cluster has no use for more masters.
SHARDS = 256
#: How long a delivery is kept after it has ended.
DELIVERY_S = 7 * 86400


@dataclass(frozen=True, slots=True, kw_only=True)
class Costs:
    """Seconds of one core, and bytes beside the payloads, that one job takes."""

    #: Its submit, and its outcome read once, in pages.
    api_s: float
    feeder_s: float
    engine_s: float
    redis_s: float
    #: One event, where the job has a webhook.
    sender_s: float
    redis_event_s: float
    event_bytes: float
    #: In Redis's memory while it waits, and once it has ended.
    queued_bytes: float
    kept_bytes: float
    #: Written to Redis's log; to and from Redis.
    log_bytes: float
    wire_bytes: float
    #: Of a Redis, each second, for a process that only lives, on each of its shards.
    idle_s: float


COSTS = Costs(
    api_s=180e-6,
    feeder_s=60e-6,
    engine_s=22e-6,
    redis_s=110e-6,
    sender_s=360e-6,
    redis_event_s=200e-6,
    event_bytes=2250,
    queued_bytes=800,
    kept_bytes=840,
    log_bytes=1770,
    wire_bytes=1470,
    idle_s=250e-6,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Load:
    """What is asked for."""

    jobs_per_s: float
    #: Seconds of a batch on the GPU, and how many jobs it holds.
    batch_s: float = 0.02
    batch: int = 32
    input_bytes: float = 1000
    output_bytes: float = 1000
    #: Share of the jobs that have a webhook.
    webhooks: float = 0.0
    #: Seconds of jobs that may wait at the worst, and for which a finished one is kept.
    held_s: float = 60
    kept_s: float = 300


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """How full each part may be."""

    #: Of a core that an API process, a feeder, a sender or Redis has.
    core: float = 0.6
    #: Of a GPU's time, with full batches.
    gpu: float = 0.7
    #: Of one Redis: 70 % of a maxmemory of 32 GB.
    redis_bytes: float = 0.7 * 32e9


@dataclass(frozen=True, slots=True)
class Queue:
    """Jobs that come at random to one server, which takes all that wait, `batch` at most."""

    jobs_per_s: float
    batch_s: float
    batch: int = 1

    @property
    def busy(self) -> float:
        """Return the share of the time in which it works."""
        return self.jobs_per_s * self.batch_s / self.mean_batch

    @property
    def mean_batch(self) -> float:
        """Return how many it takes at once: those that came meanwhile, or one that comes alone."""
        came = self.jobs_per_s * self.batch_s
        return min(came + math.exp(-came), self.batch)

    @property
    def mean_wait_s(self) -> float:
        """Return how long a job waits: M/D/1 where one is taken at a time."""
        if self.batch == 1:
            return self.busy * self.batch_s / (2 * (1 - self.busy))
        return self.busy * self.batch_s / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a load needs; masters are of one installation, all else of all of them."""

    load: Load
    costs: Costs
    installations: int
    api: int
    workers: int
    senders: int
    masters: int
    #: What decides the number of masters: `CPU` or `memory`.
    masters_for: str

    @property
    def processes(self) -> float:
        """Return how many live on each shard of an installation."""
        return (self.api + self.workers + self.senders) / self.installations

    @property
    def redis_busy(self) -> float:
        """Return the share of a core that each master uses."""
        return self.redis_jobs_per_s * _redis_s(self.load, self.costs) + self.redis_idle

    @property
    def redis_idle(self) -> float:
        """Return what of it is spent on processes that live."""
        return self.processes * self.costs.idle_s

    @property
    def redis_jobs_per_s(self) -> float:
        """Return the jobs of each master."""
        return self.load.jobs_per_s / self.installations / self.masters

    @property
    def redis_bytes(self) -> float:
        """Return the memory that all masters of all installations need."""
        return _redis_bytes(self.load, self.costs)

    @property
    def log_bytes_per_s(self) -> float:
        """Return what each master writes to its disk."""
        payload = self.load.input_bytes + self.load.output_bytes
        return self.redis_jobs_per_s * (self.costs.log_bytes + payload)

    @property
    def wire_bytes_per_s(self) -> float:
        """Return what goes to and from each master; payloads pass it twice."""
        payload = 2 * (self.load.input_bytes + self.load.output_bytes)
        return self.redis_jobs_per_s * (self.costs.wire_bytes + payload)

    def queues(self) -> dict[str, Queue]:
        """Return what one process of each kind has before it."""
        rate, costs = self.load.jobs_per_s, self.costs
        # What keeps Redis from a job makes each look longer.
        redis_s = _redis_s(self.load, costs) / (1 - self.redis_idle)
        return {
            "API": Queue(rate / self.api, costs.api_s),
            "Redis": Queue(self.redis_jobs_per_s, redis_s),
            "GPU": Queue(rate / self.workers, self.load.batch_s, self.load.batch),
        }


def plan(load: Load, costs: Costs = COSTS, bounds: Bounds = Bounds()) -> Plan:
    """Return the smallest plan in which nothing is fuller than its bound."""
    rate = load.jobs_per_s
    api = _many(rate * costs.api_s / bounds.core)
    gpus = rate * load.batch_s / load.batch / bounds.gpu
    workers = _many(max(gpus, rate * costs.feeder_s / bounds.core))
    senders = math.ceil(rate * load.webhooks * costs.sender_s / bounds.core)
    for installations in range(1, 1001):
        # Each process lives on each shard, and has its price there.
        left = bounds.core - (api + workers + senders) / installations * costs.idle_s
        if left <= 0:
            continue
        for_cpu = _many(rate / installations * _redis_s(load, costs) / left)
        for_memory = _many(_redis_bytes(load, costs) / installations / bounds.redis_bytes)
        if max(for_cpu, for_memory) <= SHARDS:
            return Plan(
                load=load,
                costs=costs,
                installations=installations,
                api=api,
                workers=workers,
                senders=senders,
                masters=max(for_cpu, for_memory),
                masters_for="memory" if for_memory > for_cpu else "CPU",
            )
    raise ValueError("no number of installations up to 1,000 bears this load")


def _redis_s(load: Load, costs: Costs) -> float:
    return costs.redis_s + load.webhooks * costs.redis_event_s


def _redis_bytes(load: Load, costs: Costs) -> float:
    held = load.held_s * (costs.queued_bytes + load.input_bytes)
    kept = load.kept_s * (costs.kept_bytes + load.output_bytes)
    told = load.webhooks * DELIVERY_S * (costs.event_bytes + load.output_bytes)
    return load.jobs_per_s * (held + kept + told)


def _many(least: float) -> int:
    # A quotient that is whole but for its last bit is whole.
    return max(1, math.ceil(least - 1e-9))


RATES = (10, 1_000, 10_000, 100_000, 1_000_000)
HEADINGS = (
    "jobs/s",
    "API processes",
    "GPUs",
    "installations",
    "masters of each",
    "decided by",
    "a master's core",
    "Redis's memory",
    "a master's log",
    "a master's network",
    "mean wait for a GPU",
)


def table() -> Iterator[str]:
    """Yield the lines of the page's table."""
    yield "| " + " | ".join(HEADINGS) + " |"
    yield "|" + " --: |" * len(HEADINGS)
    for rate in RATES:
        made = plan(Load(jobs_per_s=rate))
        cells = [
            f"{rate:,}",
            f"{made.api:,}",
            f"{made.workers:,}",
            f"{made.installations}",
            f"{made.masters}",
            made.masters_for,
            f"{made.redis_busy:.0%}".replace("%", " %"),
            _size(made.redis_bytes),
            f"{_size(made.log_bytes_per_s)}/s",
            f"{_size(made.wire_bytes_per_s)}/s",
            f"{made.queues()['GPU'].mean_wait_s * 1000:.0f} ms",
        ]
        yield "| " + " | ".join(cells) + " |"


def _size(count: float) -> str:
    thousands = max(0, min(4, int(math.log10(max(count, 1)) / 3)))
    return f"{count / 1000**thousands:.3g} {('B', 'kB', 'MB', 'GB', 'TB')[thousands]}"


if __name__ == "__main__":
    print("\n".join(table()))
