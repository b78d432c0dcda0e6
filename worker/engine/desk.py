"""Takes the feeder's frames, keeps every job in hand, and sees to it that each is answered."""

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from functools import partial
from threading import Barrier
from time import monotonic
from typing import Any

from telemetry import logs
from worker.engine.batch import Batch, HeldJob
from worker.engine.batcher import PATIENCE_S, Batcher
from worker.engine.context import Reporter
from worker.engine.finish import Finisher
from worker.engine.mailbox import Mailbox
from worker.engine.outbox import Outbox
from worker.engine.pipeline import Pipeline
from worker.engine.prepare import Preparer
from worker.engine.runner import Runner
from worker.engine.timing import BatchTime
from worker.wire import Cancel, Drop, EngineJob, Go, Jobs, Probe, Refused, Stop, ToEngine

log = logs.get(__name__)


@dataclass(slots=True, kw_only=True)
class Hands:
    """Who does the work that the desk gives out."""

    mailbox: Mailbox
    outbox: Outbox
    reporter: Reporter
    preparer: Preparer
    finisher: Finisher
    runner: Runner
    #: that prepare, and as many that finish
    threads: int
    #: ends the process: the device is lost, or the engine has a bug that would lose answers
    fatal: Callable[[BaseException], None]
    preparing: ThreadPoolExecutor = field(init=False)
    finishing: ThreadPoolExecutor = field(init=False)

    def __post_init__(self) -> None:
        self.preparing = ThreadPoolExecutor(self.threads, "prepare")
        self.finishing = ThreadPoolExecutor(self.threads, "finish")

    def close(self, limit_s: float | None) -> None:
        """Wait until every result of the device is sent."""
        # All threads meet once each has done what was given to it before.
        meeting = Barrier(self.threads)
        wait([self.finishing.submit(meeting.wait) for _ in range(self.threads)], limit_s)


class Desk:
    """The mailbox's listener; its table of jobs belongs to the mailbox's thread."""

    def __init__(self, hands: Hands, batcher: Batcher, time: BatchTime) -> None:
        self._hands = hands
        self._batcher = batcher
        self._pipeline = Pipeline(batcher, time, hands.outbox, self._launch)
        self._held: dict[int, HeldJob] = {}
        #: jobs that came, and those that left without having run
        self._taken = self._released = 0
        self._preparing = 0
        self._more = False
        self._stopping = False

    def hear(self, frame: ToEngine) -> None:
        """Act on a frame of the feeder."""
        match frame:
            case Jobs():
                self._take(frame)
            case Go():
                self._release(self._pipeline.go(frame.batch, frame.feeds, monotonic()))
            case Drop():
                self._drop(frame.feeds)
            case Cancel():
                for held in self._known(frame.feeds):
                    held.canceled = True
            case Probe():
                self._hands.runner.turns.put(partial(self._hands.runner.probe, frame.number))
            case Stop():
                self._stop()
            case _:
                log.warning("unexpected_frame", frame=type(frame).__name__)

    def step(self, now: float) -> float:
        """Form what can be formed; end once nothing is left to be done after a stop."""
        if not self._stopping:
            if not self._held:
                self._batcher.arrivals.idle(now)
            expecting = self._more or self._preparing > 0
            until = self._pipeline.step(now, expecting=expecting)
            return min(until, self._hands.reporter.flush(now))
        if not self._preparing and not self._pipeline.flying:
            self._hands.runner.turns.put(None)
            self._hands.mailbox.close()
        return self._hands.reporter.flush(now)

    def _take(self, frame: Jobs) -> None:
        # Without jobs it only takes back the word that more will come.
        self._more = frame.more
        if not frame.jobs:
            return
        now = monotonic()
        outbox = self._hands.outbox
        # What is answered is not in hand, although its batch may not be put away yet.
        holding = self._taken > self._released + outbox.delivered
        idle_since = None if holding else outbox.delivered_at
        self._batcher.arrivals.note(now, len(frame.jobs), idle_since=idle_since)
        self._taken += len(frame.jobs)
        taken = [self._hold(each, now) for each in frame.jobs]
        self._preparing += len(taken)
        hands = self._hands
        if hands.preparer.is_light(taken):
            hands.preparer.prepare(taken)
            self._admit(taken)
            return
        for part in hands.preparer.parts(taken, hands.threads):
            hands.preparing.submit(self._guarded, self._prepare, part)

    def _hold(self, job: EngineJob, now: float) -> HeldJob:
        held = HeldJob(job, now, now + PATIENCE_S.get(job.priority, 0.0))
        self._held[job.feed] = held
        return held

    def _prepare(self, part: Sequence[HeldJob]) -> None:
        self._hands.preparer.prepare(part)
        self._hands.mailbox.post(partial(self._admit, part))

    def _admit(self, prepared: Sequence[HeldJob]) -> None:
        """Prepared jobs take their place; refused ones are answered."""
        self._preparing -= len(prepared)
        started: list[HeldJob] = []
        refused: list[Refused] = []
        for held in prepared:
            if held.dropped:
                continue
            if held.refusal is not None:
                refused.append(Refused(held.feed, held.refusal))
                self._release([held])
            elif held.job.started:
                started.append(held)
            else:
                self._batcher.add(held)
        if refused:
            self._hands.outbox.send(*refused)
        if started:
            self._pipeline.run_started(started)

    def _launch(self, batch: Batch) -> None:
        self._hands.runner.turns.put(partial(self._run, batch))

    def _run(self, batch: Batch) -> None:
        """On the device's thread."""
        seconds = self._hands.runner.run(batch, self._finish)
        self._hands.mailbox.post(partial(self._ended, batch, seconds))

    def _ended(self, batch: Batch, seconds: float | None) -> None:
        self._pipeline.ended(batch, seconds)
        self._forget(batch.jobs)

    def _finish(
        self, batch: Batch, jobs: Sequence[HeldJob], results: Sequence[Any], run_s: float
    ) -> None:
        """On the device's thread: it must be free for the next batch soon."""
        hands = self._hands
        if hands.finisher.is_light(len(jobs)):
            self._answer(batch, jobs, results, run_s)
            return
        size = hands.finisher.part_size(len(jobs), hands.threads)
        for start in range(0, len(jobs), size):
            part = slice(start, start + size)
            hands.finishing.submit(
                self._guarded, self._answer, batch, jobs[part], results[part], run_s, len(jobs)
            )

    def _answer(
        self,
        batch: Batch,
        jobs: Sequence[HeldJob],
        results: Sequence[Any],
        run_s: float,
        size: int = 0,
    ) -> None:
        hands = self._hands
        items = hands.finisher.finish(jobs, results, run_s)
        hands.reporter.forget([each.feed for each in jobs])
        hands.outbox.deliver(batch, items, size or len(jobs), run_s)

    def _guarded(self, work: Callable[..., None], *args: Any) -> None:
        """Work in a pool: a failure that nobody hears of would leave its jobs without an answer."""
        try:
            work(*args)
        except BaseException as error:
            self._hands.fatal(error)
            raise

    def _drop(self, feeds: Sequence[int]) -> None:
        for held in self._known(feeds):
            if not (held.job.started or self._pipeline.is_flying(held)):
                self._batcher.remove(held)
                self._release([held])

    def _known(self, feeds: Sequence[int]) -> list[HeldJob]:
        return [self._held[each] for each in feeds if each in self._held]

    def _release(self, jobs: Sequence[HeldJob]) -> None:
        """These leave without having run."""
        self._released += sum(not each.dropped for each in jobs)
        self._forget(jobs)

    def _forget(self, jobs: Sequence[HeldJob]) -> None:
        for held in jobs:
            held.dropped = True
            self._held.pop(held.feed, None)

    def _stop(self) -> None:
        """What runs is finished; the rest is the feeder's again."""
        self._stopping = True
        self._pipeline.forget_unstarted()
        for held in self._held.values():
            held.dropped = not (held.job.started or self._pipeline.is_flying(held))
