"""What all parts of one worker share: its queue, its engine, its jobs and what it has learned."""

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from jobs.adoption import Adopted
from jobs.worker_queue import WorkerQueue
from telemetry.metrics import Metrics
from worker.engine_handle import EngineHandle
from worker.holding import Holding
from worker.learned import Learned
from worker.rules import ModelLimits, Rules
from worker.spans import Spans
from worker.timing import BusyShare, Timing

#: Why engines end, as far as it can be listed; other signals and exit codes may come.
ENGINE_ENDS = (
    *("cancel", "timeout", "buried", "hung", "stalled", "self_test"),
    *("fatal", "load_failed", "sigkill", "sigsegv", "sigabrt", "exit_1"),
)


@dataclass(slots=True, kw_only=True, eq=False)
class Station:
    """The parts, put together once by worker/life.py."""

    model: str
    version: str
    name: str
    queue: WorkerQueue
    engine: EngineHandle
    metrics: Metrics
    rules: Rules
    learned: Learned
    timing: Timing
    busy: BusyShare
    #: there while tracing is on
    spans: Spans | None = None
    holding: Holding = field(default_factory=Holding)
    limits: ModelLimits = field(default_factory=ModelLimits)
    clock: Callable[[], float] = time.monotonic
    #: something happened that may allow the next claim
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    #: others should hear at once how this worker does now
    state_changed: asyncio.Event = field(default_factory=asyncio.Event)
    #: this life is known to Redis; nothing is claimed before
    registered: bool = False
    #: no more claims: the worker is stopping
    quiet: bool = False
    #: this life is ended in Redis, or about to be
    left: bool = False
    #: jobs to run one by one, since an engine died on none that had been started
    careful: int = 0
    #: the device of the engine, once it has told
    device: str = ""
    #: number of the last probe that the engine answered
    probe_answered: int = 0
    #: when the engine last ended a batch, answered a probe or came up
    kernel_ran_at: float = 0.0
    #: when the engine last said anything about a job
    heard_at: float = 0.0

    def __post_init__(self) -> None:
        """Let what can be known ahead be counted from 0: an increase from nothing is not seen."""
        self.metrics.oom.labels(self.model)
        self.metrics.jobs_finished.labels(self.model, self.version, "succeeded", "")
        for reason in ENGINE_ENDS:
            self.metrics.engine_restarts.labels(reason)
        for reason in (*ENGINE_ENDS, "drain", "engine_gone", "lost_answer", "retry", "worker_lost"):
            self.metrics.requeues.labels(reason)

    def count_expired(self, count: int) -> None:
        """Count jobs whose deadline was found to have passed when they were to begin."""
        if count:
            self.count_finished(self.model, self.version, "expired", count)

    def count_finished(self, model: str, version: str, code: str, count: int = 1) -> None:
        """Count jobs that ended without an outcome of their own: expired, canceled, poisoned."""
        status = "failed" if code == "poisoned" else code
        self.metrics.jobs_finished.labels(model, version, status, code).inc(count)

    def count_adopted(self, adopted: Adopted) -> None:
        """Count a job that was taken from a life that is over."""
        if adopted.verdict == "ok":
            self.metrics.requeues.labels("worker_lost").inc()
        else:
            self.count_finished(adopted.model, adopted.version, adopted.verdict)
