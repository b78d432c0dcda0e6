"""What an author's `load` and `predict` are given."""

import math
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from threading import Lock
from time import monotonic
from typing import Any

from worker.engine import devices
from worker.engine.batch import HeldJob
from worker.engine.outbox import Sender
from worker.wire import Log, Progress

#: seconds between two progress frames of one job
PROGRESS_EVERY_S = 0.5
TEXT_LIMIT = 8_192


class LoadContext:
    """Device, weights and settings."""

    def __init__(self, device: str, weights: Path, settings: dict[str, Any]) -> None:
        self.device = device
        self.weights = weights
        self.settings = settings

    @cached_property
    def dtype(self) -> Any:
        """The torch dtype that suits the device, None where torch is not installed."""
        return devices.dtype_of(self.device)


class Reporter:
    """Progress of running jobs, at most two frames a second for each; the last one always goes."""

    def __init__(self, outbox: Sender) -> None:
        self._outbox = outbox
        self._lock = Lock()
        self._sent: dict[int, float] = {}
        self._waiting: dict[int, Progress] = {}

    def progress(self, feed: int, fraction: float | None, message: str | None) -> None:
        """Send the progress, or keep it until its time."""
        frame = Progress(feed, _share(fraction), None if message is None else _cut(message))
        now = monotonic()
        with self._lock:
            if now - self._sent.get(feed, -math.inf) < PROGRESS_EVERY_S:
                self._waiting[feed] = frame
                return
            self._sent[feed] = now
        self._outbox.send(frame)

    def log(self, feed: int, text: str) -> None:
        """Send a line of the job's log."""
        self._outbox.send(Log(feed, _cut(text)))

    def flush(self, now: float) -> float:
        """Send what has waited long enough; returns when to come again."""
        if not self._waiting:
            return math.inf
        with self._lock:
            due = [each for each in self._waiting if self._next_at(each) <= now]
            frames = [self._waiting.pop(each) for each in due]
            self._sent.update(dict.fromkeys(due, now))
            later = min((self._next_at(each) for each in self._waiting), default=math.inf)
        if frames:
            self._outbox.send(*frames)
        return later

    def forget(self, feeds: Sequence[int]) -> None:
        """These jobs have ended; a progress after the outcome would be a lie."""
        if not self._sent:
            return
        with self._lock:
            for each in feeds:
                self._sent.pop(each, None)
                self._waiting.pop(each, None)

    def _next_at(self, feed: int) -> float:
        return self._sent[feed] + PROGRESS_EVERY_S


class JobContext:
    """One job of the running batch, as `predict` sees it."""

    __slots__ = ("_held", "_reporter", "id")

    def __init__(self, held: HeldJob, reporter: Reporter) -> None:
        self.id = held.id
        self._held = held
        self._reporter = reporter

    @property
    def canceled(self) -> bool:
        """True once the job was canceled; its result will not be kept."""
        return self._held.canceled

    def progress(self, fraction: float | None = None, message: str | None = None) -> None:
        """Tell the client how far the job is."""
        # A thread of the model may outlive the batch: what has ended makes no progress.
        if not self._held.dropped:
            self._reporter.progress(self._held.feed, fraction, message)

    def log(self, text: str) -> None:
        """Add a line to the job's log."""
        self._reporter.log(self._held.feed, text)


class BatchContext:
    """What `predict` is given beside the batch; `jobs[i]` belongs to `batch[i]`."""

    def __init__(self, load: LoadContext, held: Sequence[HeldJob], reporter: Reporter) -> None:
        self._load = load
        self._held = held
        self._reporter = reporter

    @property
    def device(self) -> str:
        """The device that `load` was given."""
        return self._load.device

    @property
    def dtype(self) -> Any:
        """The dtype that `load` was given."""
        return self._load.dtype

    @property
    def weights(self) -> Path:
        """Where the weights lie."""
        return self._load.weights

    @property
    def settings(self) -> dict[str, Any]:
        """The model's settings."""
        return self._load.settings

    @cached_property
    def jobs(self) -> list[JobContext]:
        """The jobs, in the order of the batch; made when first asked for, most never do."""
        return [JobContext(each, self._reporter) for each in self._held]


def _share(fraction: float | None) -> float | None:
    if fraction is None:
        return None
    number = float(fraction)
    return None if math.isnan(number) else min(max(number, 0.0), 1.0)


def _cut(text: object) -> str:
    # A surrogate cannot travel; a model that logs one must not fail for it.
    return str(text)[:TEXT_LIMIT].encode(errors="replace").decode()
