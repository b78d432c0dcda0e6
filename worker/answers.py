"""What the feeder does with each frame of the engine."""

from collections.abc import Callable
from typing import Any

from model_store.card import Card
from telemetry import logs
from telemetry.traces import exemplar, trace_fields
from worker.aftermath import Death, charged, judge
from worker.card_publisher import CardPublisher
from worker.holding import Batch, Phase
from worker.progress import ProgressReporter
from worker.returning import Returner
from worker.rules import ModelLimits
from worker.settling import Settler
from worker.starting import Starter
from worker.station import Station
from worker.wire import (
    Began,
    Described,
    Done,
    Formed,
    Item,
    Loaded,
    Log,
    Memory,
    ProbeOk,
    Progress,
    Refused,
    SafeSize,
    ToFeeder,
)

log = logs.get("worker.answers")
model_log = logs.get("model")


class Answers:
    """Listens to the engine and passes each thing on to the part that sees to it."""

    def __init__(
        self,
        station: Station,
        starter: Starter,
        settler: Settler,
        returner: Returner,
        progress: ProgressReporter,
        publisher: CardPublisher,
    ) -> None:
        self._station = station
        self._starter = starter
        self._settler = settler
        self._returner = returner
        self._publisher = publisher
        self._handlers: dict[type, Callable[[Any], None]] = {
            Described: lambda frame: publisher.publish(frame.card, loaded=False),
            Formed: starter.formed,
            Began: self._began,
            Done: self._done,
            Refused: self._refused,
            Progress: progress.heard,
            Log: self._log,
            ProbeOk: self._probe_ok,
            SafeSize: self._safe_size,
            Memory: self._memory,
        }
        metrics = station.metrics
        self._batch_size = metrics.batch_size.labels(station.model)
        self._run_seconds = metrics.run_seconds.labels(station.model)
        self._allocated = metrics.gpu_memory_bytes.labels(station.model, "allocated")
        self._reserved = metrics.gpu_memory_bytes.labels(station.model, "reserved")

    def heard(self, frames: list[ToFeeder]) -> None:
        """Frames arrived from the engine that lives."""
        for frame in frames:
            handle = self._handlers.get(type(frame))
            if handle is not None:
                handle(frame)

    def loaded(self, loaded: Loaded) -> None:
        """The engine may be fed: learn what the model says of itself."""
        station = self._station
        limits = Card.from_json(loaded.card).limits
        station.limits = ModelLimits(
            max_batch=loaded.max_batch,
            by_cost=limits.max_cost is not None or limits.buckets is not None,
            timeout_s=loaded.timeout_s,
            retry_backoff_s=loaded.retry_backoff_s,
        )
        station.device = loaded.device
        station.timing.loaded(loaded.load_s)
        station.kernel_ran_at = station.heard_at = station.clock()
        station.metrics.weights_bytes.labels(station.model).set(loaded.weights_bytes)
        log.info("model_loaded", device=loaded.device, load_s=round(loaded.load_s, 3))
        self._publisher.publish(loaded.card, loaded=True)
        station.changed.set()
        station.state_changed.set()

    def died(self, death: Death) -> None:
        """The engine is off the GPU: settle or hand back all that was there."""
        station = self._station
        if not station.quiet:
            station.metrics.engine_restarts.labels(death.reason).inc()
        self._starter.engine_died()
        on_gpu = station.holding.on_gpu
        station.holding.forget_batches()
        began = 0 if on_gpu is None else on_gpu.size
        for held in station.holding.in_phase(Phase.ON_GPU):
            if held.span is not None:
                held.span.end(death.reason)
        after = judge(station.holding.jobs.values(), death, began=began)
        if after.unexplained:
            station.careful = max(station.careful, len(after.back))
        self._settler.gave_up(after.ended, death.detail)
        self._returner.post(after.back, death.reason)
        station.changed.set()
        station.state_changed.set()

    def _began(self, frame: Began) -> None:
        station = self._station
        holding, now = station.holding, station.clock()
        jobs = list(holding.of(frame.feeds, Phase.STARTED))
        batch = holding.batches.get(frame.batch)
        if batch is None:
            # Started with its claim: there was no Formed for it.
            fed_at = min((held.since for held in jobs), default=now)
            batch = Batch(frame.batch, list(frame.feeds), len(frame.feeds), fed_at)
            holding.batches[frame.batch] = batch
        batch.began_at, batch.size = now, len(frame.feeds)
        batch.expected_s = station.timing.expected_s(len(frame.feeds))
        holding.on_gpu = batch
        if station.spans is not None:
            station.spans.began(batch, jobs)
        station.heard_at = now
        for held in jobs:
            holding.move(held, Phase.ON_GPU)
            held.since = now
        station.changed.set()

    def _done(self, frame: Done) -> None:
        station = self._station
        station.kernel_ran_at = station.heard_at = station.clock()
        station.careful = max(station.careful - len(frame.items), 0)
        if station.spans is not None:
            self._end_spans(frame)
        self._settler.ended(self._with_their_own_time(frame))
        if frame.last:
            self._batch_ended(frame)
        station.changed.set()

    def _end_spans(self, frame: Done) -> None:
        fed = self._station.holding.fed
        for item in frame.items:
            held = fed.get(item.feed)
            if held is not None and held.span is not None:
                code = "" if item.error is None else str(item.error.get("code", "model_error"))
                held.span.end("timed_out" if held.timed_out else code)

    def _with_their_own_time(self, frame: Done) -> list[Item]:
        """Items to settle: of several over their limit, none can be told to be the one that hung.

        So a result that came is kept, and one that did not runs alone before it has timed out.
        A batch that failed is run in pieces, on one clock: a piece of one job was not alone.
        """
        fed = self._station.holding.fed
        late = [held for each in frame.items if (held := fed.get(each.feed)) and held.timed_out]
        batch = self._station.holding.batches.get(frame.batch)
        began = frame.batch_size if batch is None else batch.size
        if not late or began == 1:
            return frame.items
        for held in late:
            held.timed_out = False
        unended = {each.feed for each in frame.items if each.output is None}
        back = [held for held in late if held.feed in unended and held.phase is Phase.ON_GPU]
        again = [charged(held, "timeout") for held in back]
        self._returner.post(list(zip(back, again, strict=True)), "timeout")
        return frame.items

    def _batch_ended(self, frame: Done) -> None:
        station = self._station
        batch = station.holding.batches.pop(frame.batch, None)
        if batch is None:
            return
        if station.holding.on_gpu is batch:
            station.holding.on_gpu = None
        station.engine.proved_good()
        station.timing.ended(frame.batch_size, frame.run_s, batch.fed_at, station.clock())
        station.busy.ran(frame.run_s, station.clock())
        self._batch_size.observe(frame.batch_size)
        where = None
        if batch.span is not None:
            batch.span.note({"headrace.run_s": frame.run_s})
            batch.span.end()
            where = exemplar(batch.span.traceparent)
        self._run_seconds.observe(frame.run_s, where)
        log.debug("batch_done", size=frame.batch_size, run_s=frame.run_s, batch=frame.batch)

    def _refused(self, frame: Refused) -> None:
        self._station.heard_at = self._station.clock()
        self._station.careful = max(self._station.careful - 1, 0)
        self._settler.ended([Item(frame.feed, None, frame.error, 0.0)])
        self._station.changed.set()

    def _log(self, frame: Log) -> None:
        for held in self._station.holding.of([frame.feed], *Phase):
            span = held.span
            fields = trace_fields(held.job.traceparent) if span is None else span.fields
            model_log.info("model_log", job_id=held.id, text=frame.text, **fields)

    def _probe_ok(self, frame: ProbeOk) -> None:
        self._station.kernel_ran_at = self._station.clock()
        self._station.probe_answered = frame.number

    def _safe_size(self, frame: SafeSize) -> None:
        self._station.learned.safe_sizes[frame.bucket] = frame.size
        log.warning("safe_size_learned", bucket=frame.bucket, size=frame.size)

    def _memory(self, frame: Memory) -> None:
        self._allocated.set(frame.allocated)
        self._reserved.set(frame.reserved)
        if frame.oom:
            self._station.metrics.oom.labels(self._station.model).inc()
