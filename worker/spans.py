"""What a worker tells of jobs and batches to their traces; there only while tracing is on.

A job's spans are children of the request that submitted it. A batch is a trace of its own: it
belongs to many requests, and is linked to each and to the `queue` of each of its jobs; that and
their `predict` are linked back.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING

from jobs.worker_queue import Claimed, Outcome
from telemetry.traces import sampled, trace_fields
from worker.holding import Batch, Held, Phase

if TYPE_CHECKING:
    from telemetry.otlp import Span, Traces, Value

_MS = 1_000_000


class Spans:
    """The spans of one worker; a job that nobody traces has none."""

    def __init__(self, traces: Traces, *, model: str, version: str, worker: str) -> None:
        self._traces = traces
        self._common: dict[str, Value] = {
            "messaging.system": "headrace",
            "messaging.destination.name": model,
            "headrace.model.version": version,
            "headrace.worker": worker,
        }

    def started(self, jobs: Iterable[Held], batch_size: int | None = None) -> None:
        """Their time in the queue is over: `running` stands in Redis as of now."""
        now_ns = time.time_ns()
        for held in jobs:
            if not sampled(held.job.traceparent):
                continue
            span = self._queue(held.job, now_ns, batch_size)
            if held.phase is Phase.GONE:
                # It was taken away while its start was on its way: nobody else would send it.
                span.end()
            else:
                held.waited = span

    def _queue(self, job: Claimed, now_ns: int, batch_size: int | None) -> Span:
        last = job.last
        # Of a job that ran before, since it is in line again: that time is in no other span.
        since_ns = (job.created_at if last is None else last.ended_at) * _MS
        attributes = self._of(job, "receive")
        if batch_size is not None:
            attributes["messaging.batch.message_count"] = batch_size
        begin = self._traces.begin
        span = begin("queue", "consumer", job.traceparent, attributes, at_ns=min(since_ns, now_ns))
        if last is not None:
            # Who ran it may have died with what it would have told.
            span.event(
                "headrace.attempt.ended",
                last.ended_at * _MS,
                {
                    "headrace.attempt": last.attempt,
                    "headrace.reason": last.reason,
                    "headrace.worker": last.worker,
                },
            )
        # Sent when its batch begins, and has a context to be linked to: a moment from now.
        span.over(now_ns)
        return span

    def began(self, batch: Batch, jobs: Sequence[Held]) -> None:
        """Predict of these began."""
        traced = [held for held in jobs if sampled(held.job.traceparent)]
        if not traced:
            return
        about = self._common | {
            "messaging.operation.name": "batch",
            "messaging.operation.type": "process",
            "messaging.batch.message_count": batch.size,
            "headrace.batch": batch.number,
        }
        batch.span = self._traces.begin_batch("batch", about, _causes(traced))
        for held in traced:
            if held.waited is not None:
                held.waited.link(batch.span.traceparent)
                held.waited.end()
                held.waited = None
            attributes = self._of(held.job, "process", "predict")
            attributes["messaging.batch.message_count"] = batch.size
            link = [batch.span.traceparent]
            held.span = self._traces.begin(
                "predict", "internal", held.job.traceparent, attributes, links=link
            )

    def settled(self, held: Held, outcome: Outcome, code: str, verdict: str) -> dict[str, str]:
        """Redis has heard what became of it; what the log says of that."""
        if not sampled(held.job.traceparent):
            return trace_fields(held.job.traceparent)
        attributes = self._of(held.job, "settle")
        attributes["headrace.outcome"] = outcome.kind
        attributes["headrace.verdict"] = verdict
        span = self._traces.begin(
            "settle", "client", held.job.traceparent, attributes, at_ns=held.ended_ns
        )
        failed = "" if outcome.kind == "canceled" else code
        span.end("stale" if verdict == "stale" else failed)
        return span.fields

    def _of(self, job: Claimed, kind: str, name: str = "") -> dict[str, Value]:
        return self._common | {
            "messaging.operation.name": name or ("queue" if kind == "receive" else kind),
            "messaging.operation.type": kind,
            "messaging.message.id": job.id,
            "headrace.attempt": job.attempt,
            "headrace.priority": job.priority.value,
            "headrace.tenant": job.tenant,
        }


def _causes(jobs: Iterable[Held]) -> Iterator[str]:
    """Give what a batch comes from: of each job its request, and where it waited."""
    for held in jobs:
        if held.job.traceparent is not None:
            yield held.job.traceparent
        # A sampler may have left it out: a link would lead nowhere.
        if held.waited is not None and sampled(held.waited.traceparent):
            yield held.waited.traceparent
