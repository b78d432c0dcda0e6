"""A receiver of traces on loopback, which reads them by the protocol's own definitions."""

from __future__ import annotations

from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
    ExportTraceServiceRequest,
    ExportTraceServiceResponse,
)
from opentelemetry.proto.common.v1.common_pb2 import KeyValue
from opentelemetry.proto.trace.v1 import trace_pb2

from headrace.chaos.listening import Listening
from headrace.chaos.process import until


def values(pairs: Any) -> dict[str, Any]:
    """Attributes by name."""
    return {pair.key: _value(pair) for pair in pairs}


def _value(pair: KeyValue) -> Any:
    return getattr(pair.value, str(pair.value.WhichOneof("value")))


@dataclass(frozen=True)
class Seen:
    """A span as it arrived; ids in hex, times in seconds."""

    service: str
    span: trace_pb2.Span

    @property
    def name(self) -> str:
        return self.span.name

    @property
    def trace(self) -> str:
        return self.span.trace_id.hex()

    @property
    def id(self) -> str:
        return self.span.span_id.hex()

    @property
    def parent(self) -> str:
        return self.span.parent_span_id.hex()

    @property
    def begin(self) -> float:
        return self.span.start_time_unix_nano / 1e9

    @property
    def end(self) -> float:
        return self.span.end_time_unix_nano / 1e9

    @property
    def about(self) -> dict[str, Any]:
        return values(self.span.attributes)

    @property
    def links(self) -> set[tuple[str, str]]:
        return {(link.trace_id.hex(), link.span_id.hex()) for link in self.span.links}

    @property
    def failed(self) -> bool:
        return self.span.status.code == trace_pb2.Status.STATUS_CODE_ERROR

    @property
    def kind(self) -> str:
        return trace_pb2.Span.SpanKind.Name(self.span.kind).removeprefix("SPAN_KIND_").lower()


class Collector(Listening):
    """Takes what is exported to it, while entered."""

    def __init__(self, port: int = 0) -> None:
        super().__init__(_Server(self, port))
        self.spans: list[Seen] = []

    @property
    def url(self) -> str:
        """What OTEL_EXPORTER_OTLP_ENDPOINT is to be."""
        return self.origin

    def take(self, body: bytes) -> None:
        """Keep the spans of a request."""
        request = ExportTraceServiceRequest()
        request.ParseFromString(body)
        for resource in request.resource_spans:
            service = values(resource.resource.attributes)["service.name"]
            for scope in resource.scope_spans:
                self.spans += [Seen(service, span) for span in scope.spans]

    def trace(self, trace: str, *names: str, seconds: float = 30.0) -> list[Seen]:
        """Return the spans of a trace in the order they began, once all of `names` are there."""

        def found() -> list[Seen]:
            spans = [each for each in self.spans if each.trace == trace]
            here = [each.name for each in spans]
            missing = [name for name in names if here.count(name) < names.count(name)]
            return [] if missing else sorted(spans, key=lambda each: each.begin)

        return until(found, seconds, f"{names} in {trace}")

    def one(self, trace: str, name: str, seconds: float = 30.0) -> Seen:
        """Return the one span of that name in a trace."""
        [found] = [each for each in self.trace(trace, name, seconds=seconds) if each.name == name]
        return found


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, collector: Collector, port: int) -> None:
        super().__init__(("127.0.0.1", port), _Handler)
        self.collector = collector


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    wbufsize = -1

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        assert self.path == "/v1/traces"
        assert self.headers["content-type"] == "application/x-protobuf"
        self.server.collector.take(body)
        answer = ExportTraceServiceResponse().SerializeToString()
        self.send_response(200)
        self.send_header("content-type", "application/x-protobuf")
        self.send_header("content-length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
