"""A simulation of jobs on their way through API, Redis and workers: what the arithmetic leaves out.

Each process is there by itself. Jobs come at random, each goes to a random process of each kind,
and nobody is asked whether the formulas hold.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

from benchmarks.capacity import Plan


@dataclass(frozen=True, slots=True)
class Seen:
    """What one kind of process did, on average."""

    busy: float
    wait_s: float
    batch: float


@dataclass(frozen=True, slots=True)
class Served:
    """When each job left one process, how long all waited there, and how many batches it took."""

    left: list[float]
    waited_s: float
    batches: int


def serve(arrivals: Sequence[float], service_s: float, batch: int = 1) -> Served:
    """Let one process take what waits, `batch` at most, as soon as it is free."""
    left: list[float] = []
    waited = free_at = 0.0
    batches = 0
    while len(left) < len(arrivals):
        first = len(left)
        begins = max(free_at, arrivals[first])
        count = 0
        while count < batch and first + count < len(arrivals) and arrivals[first + count] <= begins:
            waited += begins - arrivals[first + count]
            count += 1
        free_at = begins + service_s
        left += [free_at] * count
        batches += 1
    return Served(left, waited, batches)


def come(jobs_per_s: float, jobs: int, dice: random.Random) -> list[float]:
    """Return when jobs come that know nothing of each other."""
    return list(accumulate(dice.expovariate(jobs_per_s) for _ in range(jobs)))


def simulate(plan: Plan, jobs: int, seed: int = 1) -> dict[str, Seen]:
    """Send jobs through all processes of a plan; return what each kind did."""
    dice = random.Random(seed)
    masters = plan.installations * plan.masters
    kinds = {"API": plan.api, "Redis": masters, "GPU": plan.workers}
    queues = plan.queues()
    times = come(plan.load.jobs_per_s, jobs, dice)
    seen = {}
    for kind, count in kinds.items():
        queue = queues[kind]
        times, seen[kind] = _stage(times, count, queue.batch_s, queue.batch, dice)
    return seen


def _stage(
    times: list[float], count: int, service_s: float, batch: int, dice: random.Random
) -> tuple[list[float], Seen]:
    parts: dict[int, list[float]] = defaultdict(list)
    for at in times:
        parts[dice.randrange(count)].append(at)
    served = [serve(part, service_s, batch) for part in parts.values()]
    batches = sum(each.batches for each in served)
    spanned = max(each.left[-1] for each in served) - times[0]
    seen = Seen(
        busy=batches * service_s / (count * spanned),
        wait_s=sum(each.waited_s for each in served) / len(times),
        batch=len(times) / batches,
    )
    return sorted(at for each in served for at in each.left), seen
