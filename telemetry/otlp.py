"""Spans and their way to an OTLP endpoint. The one module that imports OpenTelemetry."""

from __future__ import annotations

import logging
import os
import platform
import threading
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version
from typing import Literal

from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http import trace_exporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import ReadableSpan, SpanLimits, TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult
from opentelemetry.sdk.trace.sampling import ALWAYS_ON, Sampler
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    Tracer,
    set_span_in_context,
)
from opentelemetry.trace import Span as OpenTelemetrySpan

from telemetry import logs

Value = str | int | float
Attributes = Mapping[str, Value]

#: A batch is linked to the request and to the queue of each of its jobs; the SDK's limit is 128.
_MOST_LINKS = 2048

Kind = Literal["server", "client", "consumer", "internal"]
_KINDS = {
    "server": SpanKind.SERVER,
    "client": SpanKind.CLIENT,
    "consumer": SpanKind.CONSUMER,
    "internal": SpanKind.INTERNAL,
}

log = logs.get("telemetry.traces")


class Span:
    """Something that takes time; `traceparent` is what whatever it causes continues."""

    __slots__ = ("_ended", "_over_ns", "_span", "traceparent")

    def __init__(self, span: OpenTelemetrySpan) -> None:
        self._span = span
        self._ended = False
        self._over_ns: int | None = None
        context = span.get_span_context()
        self.traceparent = (
            f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
        )

    @property
    def fields(self) -> dict[str, str]:
        """What a line of the log says of it."""
        return {"trace_id": self.traceparent[3:35], "span_id": self.traceparent[36:52]}

    def name(self, name: str) -> None:
        """Name it anew, once more is known."""
        self._span.update_name(name)

    def note(self, attributes: Attributes) -> None:
        """Say more of it."""
        self._span.set_attributes(attributes)

    def event(self, name: str, at_ns: int, attributes: Attributes) -> None:
        """Note a moment of it."""
        self._span.add_event(name, attributes, at_ns)

    def link(self, traceparent: str) -> None:
        """Link it to a span that was not there when it began."""
        self._span.add_link(_context(traceparent))

    def over(self, at_ns: int) -> None:
        """Note when its time was over; `end` sends it with that, once there is all to say of it."""
        self._over_ns = at_ns

    def end(self, error: str = "", at_ns: int | None = None) -> None:
        """End it, failed where an error (one word) is given; again changes nothing."""
        if self._ended:
            return
        self._ended = True
        if error:
            self._span.set_attribute("error.type", error)
            self._span.set_status(Status(StatusCode.ERROR))
        self._span.end(self._over_ns if at_ns is None else at_ns)


class Traces:
    """Makes spans, and has a thread send them: whoever makes one never waits for the endpoint.

    What does not fit the bounded queue (`OTEL_BSP_MAX_QUEUE_SIZE`) is dropped.
    """

    def __init__(self, process: str) -> None:
        exporter = _Telling(trace_exporter.OTLPSpanExporter())
        self._processor = BatchSpanProcessor(exporter, max_export_batch_size=_batch_size())
        resource = _resource(process)
        self._tracer = self._made(resource, None)
        #: Whether a batch is recorded is known from its jobs, and nothing to be decided once more.
        self._of_batches = self._made(resource, ALWAYS_ON)

    def _made(self, resource: Resource, sampler: Sampler | None) -> Tracer:
        own_limit = "OTEL_SPAN_LINK_COUNT_LIMIT" in os.environ
        provider = TracerProvider(
            sampler,
            resource,
            # The end of a process must not hang on the endpoint: `close` is what ends it.
            shutdown_on_exit=False,
            span_limits=SpanLimits(max_links=None if own_limit else _MOST_LINKS),
        )
        provider.add_span_processor(self._processor)
        return provider.get_tracer("headrace", version("headrace"))

    def begin(
        self,
        name: str,
        kind: Kind,
        parent: str | None,
        attributes: Attributes,
        *,
        links: Iterable[str] = (),
        at_ns: int | None = None,
    ) -> Span:
        """Begin a span, now or at `at_ns`, of the trace of `parent`; of a new one without.

        Parent and links are valid traceparents. Whether it is recorded is the sampler's to say.
        """
        context = Context()
        if parent is not None:
            context = set_span_in_context(NonRecordingSpan(_context(parent)), context)
        linked = [Link(_context(each)) for each in links]
        started = self._tracer.start_span(name, context, _KINDS[kind], attributes, linked, at_ns)
        return Span(started)

    def begin_batch(self, name: str, attributes: Attributes, links: Iterable[str]) -> Span:
        """Begin a trace of its own that is recorded, since what it is linked to is."""
        linked = [Link(_context(each)) for each in links]
        kind = SpanKind.CONSUMER
        return Span(self._of_batches.start_span(name, Context(), kind, attributes, linked))

    def close(self, seconds: float) -> None:
        """Send what is left, for so long at most."""
        ending = threading.Thread(target=self._processor.shutdown, name="traces-end", daemon=True)
        began = time.monotonic()
        ending.start()
        ending.join(seconds)
        if ending.is_alive():
            log.warning("traces_left_unsent", waited_s=round(time.monotonic() - began, 1))


def _batch_size() -> int | None:
    """Return how many spans go at once, None where the SDK is to say: it refuses more than fit the
    queue, also where its own default is what is more.
    """
    if os.environ.get("OTEL_BSP_MAX_EXPORT_BATCH_SIZE"):
        return None
    given = os.environ.get("OTEL_BSP_MAX_QUEUE_SIZE", "")
    return min(512, int(given)) if given.isdecimal() and int(given) > 0 else None


def _context(traceparent: str) -> SpanContext:
    flags = TraceFlags(int(traceparent[53:55], 16))
    trace, span = int(traceparent[3:35], 16), int(traceparent[36:52], 16)
    return SpanContext(trace, span, is_remote=True, trace_flags=flags)


def _resource(process: str) -> Resource:
    own = {
        "service.name": f"headrace-{process}",
        "service.version": version("headrace"),
        "service.instance.id": f"{platform.node() or 'host'}-{os.getpid()}",
    }
    # What the operator says of it wins; `create` would have it the other way round.
    return Resource.create(own).merge(OTELResourceDetector().detect())


class _Telling(SpanExporter):
    """The exporter, of whose failures the log has the first and the end, and not each."""

    def __init__(self, exporter: SpanExporter) -> None:
        self._exporter = exporter
        self._lost = 0
        self._words = _LastWords()
        logging.getLogger(trace_exporter.__name__).addFilter(self._words)

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        """Send them; what cannot be sent in its time is lost."""
        result = self._exporter.export(spans)
        if result is not SpanExportResult.SUCCESS:
            if not self._lost:
                log.warning("traces_not_taken", why=self._words.text)
            self._lost += len(spans)
        elif self._lost:
            log.info("traces_taken_again", lost=self._lost)
            self._lost = 0
        return result

    def shutdown(self) -> None:
        """Send nothing more."""
        self._exporter.shutdown()
        logging.getLogger(trace_exporter.__name__).removeFilter(self._words)


class _LastWords(logging.Filter):
    """Keeps what the exporter says of a failure, instead of a line for each of its attempts."""

    text = ""

    def filter(self, record: logging.LogRecord) -> bool:
        self.text = record.getMessage()
        return False
