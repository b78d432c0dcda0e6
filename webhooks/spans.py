"""What a sender tells of its tries to the traces of their jobs; there only while tracing is on."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from jobs.webhook import Delivery
from telemetry.traces import sampled

if TYPE_CHECKING:
    from telemetry.otlp import Span, Traces, Value


class TrySpans:
    """A client span for each try, by the conventions of OpenTelemetry for HTTP."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    def begin(self, delivery: Delivery) -> Span | None:
        """Begin the span of a try; None where nobody traces the job."""
        if not sampled(delivery.traceparent):
            return None
        # Of the URL no more: who knows the path of some receivers may post to them.
        parts = urlsplit(delivery.url)
        attributes: dict[str, Value] = {
            "http.request.method": "POST",
            "server.address": parts.hostname or "",
            "server.port": parts.port or (80 if parts.scheme == "http" else 443),
            "url.scheme": parts.scheme,
            "messaging.message.id": delivery.owner,
            "headrace.tenant": delivery.tenant,
            "headrace.webhook.id": delivery.id,
            "headrace.webhook.type": delivery.type,
        }
        if delivery.tries:
            attributes["http.request.resend_count"] = delivery.tries
        return self._traces.begin("webhook", "client", delivery.traceparent, attributes)
