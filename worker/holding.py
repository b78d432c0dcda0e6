"""What a worker holds at this moment: its jobs, and the batches they are in."""

import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import IntEnum
from typing import TYPE_CHECKING

from jobs.worker_queue import Claimed

if TYPE_CHECKING:
    from telemetry.otlp import Span


class Phase(IntEnum):
    """How far a held job is; a number, since counts are kept by it for each step of each job."""

    ASIDE = 0  # claimed, waits until the engine is empty, then runs alone
    FED = 1  # at the engine, not started
    STARTING = 2  # in a batch whose start Redis has not answered
    STARTED = 3  # running for the world, allowed onto the GPU
    ON_GPU = 4  # predict has begun
    SETTLING = 5  # its outcome waits until Redis has it
    RETURNING = 6  # its hand-back waits until Redis has it
    GONE = 7  # in these hands no more, whatever a call that left before may answer


UNSTARTED = (Phase.ASIDE, Phase.FED, Phase.STARTING)
AT_WORK = (Phase.STARTED, Phase.ON_GPU)
LEAVING = (Phase.SETTLING, Phase.RETURNING)


@dataclass(slots=True, eq=False)
class Held:
    """One job in the worker's hands; times are of the monotonic clock."""

    job: Claimed
    #: what the engine calls it by: another one each time that the job comes into these hands
    feed: int
    phase: Phase
    #: when it came to the engine; then when it was started; then when its predict began
    since: float
    #: bytes it keeps in memory
    size: int
    #: nothing else was at the engine with it
    alone: bool = False
    #: when its cancel was seen, or its time limit passed
    flagged_at: float | None = None
    canceled: bool = False
    timed_out: bool = False
    #: of its time in the queue, until that is sent: it is linked to the batch that ended it
    waited: "Span | None" = None
    #: of its predict, where it is traced
    span: "Span | None" = None
    #: Unix nanoseconds when its outcome was known, where traces are made
    ended_ns: int = 0

    @property
    def id(self) -> str:
        """The job's id."""
        return self.job.id


@dataclass(slots=True, eq=False)
class Batch:
    """A batch that the engine has formed or begun."""

    number: int
    feeds: list[int]
    #: how many began together, however small the pieces they were run in later
    size: int
    fed_at: float
    began_at: float | None = None
    expected_s: float | None = None
    #: where it is traced
    span: "Span | None" = None


@dataclass(slots=True)
class Holding:
    """Every held job by id and by feed, counted by phase."""

    jobs: dict[str, Held] = field(default_factory=dict)
    fed: dict[int, Held] = field(default_factory=dict)
    feeds: Iterator[int] = field(default_factory=lambda: itertools.count(1))
    batches: dict[int, Batch] = field(default_factory=dict)
    counts: list[int] = field(default_factory=lambda: [0] * len(Phase))
    bytes: int = 0
    #: the batch whose predict runs now
    on_gpu: Batch | None = None

    def add(self, job: Claimed, phase: Phase, now: float) -> Held:
        """Take a claimed job into the worker's hands."""
        # A job may come back before the answer to its hand-back does: that one is of an old token.
        self._remove(self.jobs.get(job.id))
        held = Held(job, next(self.feeds), phase, now, len(job.input))
        self.jobs[job.id] = self.fed[held.feed] = held
        self.counts[phase] += 1
        self.bytes += held.size
        return held

    def move(self, held: Held, phase: Phase) -> None:
        """Note that a job is one step further; of one that is held no more, nothing."""
        if held.phase is Phase.GONE:
            return
        self.counts[held.phase] -= 1
        self.counts[phase] += 1
        held.phase = phase

    def grow(self, held: Held, size: int) -> None:
        """Note that the job keeps this many bytes more."""
        if held.phase is Phase.GONE:
            return
        self.bytes += size
        held.size += size

    def forget(self, held: Held) -> None:
        """Let go of a job, unless its id is held under a newer token."""
        if self.jobs.get(held.id) is held:
            self._remove(held)

    def _remove(self, held: Held | None) -> None:
        if held is not None:
            del self.jobs[held.id], self.fed[held.feed]
            self.counts[held.phase] -= 1
            self.bytes -= held.size
            if held.waited is not None:
                # No batch has begun with it.
                held.waited.end()
            if held.span is not None:
                # What took it away while it ran is told elsewhere; again changes nothing.
                held.span.end("lost")
            # A start may be on its way for it: its answer is for nobody.
            held.phase = Phase.GONE

    def of(self, feeds: Iterable[int], *phases: Phase) -> Iterator[Held]:
        """Those of the feeds that are held in one of these phases."""
        for each in feeds:
            held = self.fed.get(each)
            if held is not None and held.phase in phases:
                yield held

    def in_phase(self, *phases: Phase) -> list[Held]:
        """All jobs in one of these phases."""
        return [held for held in self.jobs.values() if held.phase in phases]

    def count(self, *phases: Phase) -> int:
        """How many jobs are in these phases."""
        return sum(self.counts[phase] for phase in phases)

    def forget_batches(self) -> None:
        """The engine is gone, and with it every batch."""
        for batch in self.batches.values():
            if batch.span is not None:
                batch.span.end("engine_gone")
        self.batches.clear()
        self.on_gpu = None
