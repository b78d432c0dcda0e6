"""The device's thread: predict, and the fate of each job in a batch that failed."""

import inspect
import traceback
from collections.abc import Callable, Generator, Mapping, Sequence, Sized
from queue import SimpleQueue
from time import monotonic
from typing import Any, Protocol

from pydantic import BaseModel

from model_store.loader import LoadedModel
from telemetry import logs
from worker.engine import devices
from worker.engine.batch import Batch, HeldJob
from worker.engine.context import BatchContext, LoadContext, Reporter
from worker.engine.faults import (
    DeviceLost,
    JobCanceled,
    NeverFits,
    WrongCount,
    describe,
    is_out_of_memory,
    is_sticky,
    text_of,
)
from worker.engine.memory import SafeSizes
from worker.engine.outbox import Sender
from worker.wire import Began, Memory, ProbeOk, SafeSize

log = logs.get(__name__)

MEMORY_EVERY_S = 5.0


class Finish(Protocol):
    """Takes results off the device's thread."""

    def __call__(
        self, batch: Batch, jobs: Sequence[HeldJob], results: Sequence[Any], run_s: float
    ) -> None: ...


class Runner:
    """Takes batches and probes in turn; everything that touches the device happens here."""

    def __init__(
        self,
        model: LoadedModel,
        context: LoadContext,
        outbox: Sender,
        reporter: Reporter,
        sizes: SafeSizes,
    ) -> None:
        self.turns: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._model = model
        self._predict: Callable[..., Any] = model.members.predict
        self._context = context
        self._outbox = outbox
        self._reporter = reporter
        self._sizes = sizes
        self._largest_fit = 0.0
        self._memory_at = 0.0

    def serve(self) -> None:
        """Run what is queued until told to stop by None."""
        while (turn := self.turns.get()) is not None:
            turn()

    def probe(self, number: int) -> None:
        """Prove that the device still computes."""
        try:
            devices.run_probe(self._context.device)
            devices.synchronize(self._context.device)
        except RuntimeError as error:
            # A full memory is no dead device: a busy neighbour must not cost a reload.
            if not is_out_of_memory(error):
                raise DeviceLost(text_of(error)) from error
        self._outbox.send(ProbeOk(number))

    def run(self, batch: Batch, finish: Finish) -> float | None:
        """Predict the batch and hand over every result.

        Returns the seconds it took, None where it did not go through in one piece.
        """
        batch.began_at = monotonic()
        self._outbox.send(Began(batch.number, batch.feeds))
        chunks = [batch.jobs]
        chunk = batch.jobs
        seconds: float | None = None
        while chunks:
            chunk = _without_canceled(batch, chunks.pop(), finish)
            if not chunk:
                continue
            began = monotonic()
            outcome = self._attempt(chunk)
            seconds = monotonic() - began
            if isinstance(outcome, list):
                finish(batch, chunk, outcome, seconds)
            else:
                # The first part is run next: the order of the batch is kept.
                chunks.extend(reversed(self._after_failure(batch, chunk, outcome, finish)))
        self._report_memory()
        return seconds if len(chunk) == len(batch.jobs) else None

    def _attempt(self, chunk: Sequence[HeldJob]) -> list[Any] | BaseException:
        """The results, or why there are none."""
        context = BatchContext(self._context, chunk, self._reporter)
        try:
            returned = self._predict([each.prepared for each in chunk], context)
            if inspect.isgenerator(returned):
                returned = _drained(returned)
            results = _listed(returned, len(chunk))
            devices.synchronize(self._context.device)
        except BaseException as error:  # the author's predict; sys.exit is no way out
            if is_sticky(error):
                raise DeviceLost(text_of(error)) from error
            if is_out_of_memory(error):
                # Its frames hold the tensors that did not fit: without them it can be freed.
                traceback.clear_frames(error.__traceback__)
            else:
                self._ask_device()
            return error
        if self._model.members.cost is not None:
            self._largest_fit = max(self._largest_fit, *(each.shape for each in chunk))
        return results

    def _ask_device(self) -> None:
        """A fault may stand behind the model's own error; not the next batch shall be blamed."""
        try:
            devices.synchronize(self._context.device)
        except RuntimeError as error:
            if is_sticky(error):
                raise DeviceLost(text_of(error)) from error

    def _after_failure(
        self, batch: Batch, chunk: list[HeldJob], error: BaseException, finish: Finish
    ) -> list[list[HeldJob]]:
        """The smaller batches to try now; a job that failed alone has met its fate."""
        if is_out_of_memory(error):
            return self._after_out_of_memory(batch, chunk, error, finish)
        if len(chunk) > 1:
            log.warning("batch_failed", jobs=[each.id for each in chunk], exc_info=error)
            return [[each] for each in chunk]
        finish(batch, chunk, [error], monotonic() - (batch.began_at or 0))
        return []

    def _after_out_of_memory(
        self, batch: Batch, chunk: list[HeldJob], error: BaseException, finish: Finish
    ) -> list[list[HeldJob]]:
        device = self._context.device
        self._outbox.send(Memory(*devices.memory_of(device), oom=True))
        shape = max(each.shape for each in chunk)
        log.warning("batch_out_of_memory", size=len(chunk), cost=shape, error=str(error))
        devices.free_cache(device)
        if len(chunk) > 1:
            half = (len(chunk) + 1) // 2
            self._outbox.send(SafeSize(*self._sizes.learn(shape, half)))
            return [chunk[:half], chunk[half:]]
        began = monotonic()
        outcome = self._attempt(chunk)
        if not isinstance(outcome, list):
            outcome = [self._verdict_alone(shape, outcome)]
        finish(batch, chunk, outcome, monotonic() - began)
        return []

    def _verdict_alone(self, shape: float, error: BaseException) -> BaseException:
        """Why a job that runs alone, on a freed device, still has no result."""
        if not is_out_of_memory(error) or shape <= self._largest_fit:
            # As large a one has fitted: something else takes the memory, another try may help.
            return error
        return NeverFits(
            f"the job does not fit into memory even alone: {describe(error, 'predict')}"
        )

    def _report_memory(self) -> None:
        now = monotonic()
        if now - self._memory_at >= MEMORY_EVERY_S:
            self._memory_at = now
            allocated, reserved = devices.memory_of(self._context.device)
            if reserved:
                self._outbox.send(Memory(allocated, reserved, oom=False))


def _without_canceled(batch: Batch, chunk: list[HeldJob], finish: Finish) -> list[HeldJob]:
    canceled = [each for each in chunk if each.canceled]
    if not canceled:
        return chunk
    fate = JobCanceled("the job was canceled before it ran")
    finish(batch, canceled, [fate] * len(canceled), 0.0)
    return [each for each in chunk if not each.canceled]


def _drained(partials: Generator[Any, Any, Any]) -> Any:
    """What a generator returns once it has yielded all its partial results."""
    while True:
        try:
            next(partials)
        except StopIteration as end:
            return end.value


def _listed(returned: Any, count: int) -> list[Any]:
    """The results as a list of the right length; an array or a tensor is taken row by row."""
    if isinstance(returned, str | bytes | Mapping | BaseModel) or not isinstance(returned, Sized):
        found = type(returned).__name__
        raise WrongCount(f"predict returned {found}; it has to return a list, one result per item")
    if len(returned) != count:
        raise WrongCount(f"predict returned {len(returned)} results for {count} items")
    return list(returned)  # type: ignore[call-overload, no-any-return]
