"""What a request tells to its trace; there only while tracing is on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from starlette.types import Scope

if TYPE_CHECKING:
    from telemetry.otlp import Span, Traces

#: Asked every few seconds by machines: nobody looks for their traces.
_PROBES = frozenset({"/livez", "/healthz"})
#: Any other word would be a name that a client may choose.
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE"})


class RequestSpans:
    """The server span of each request, by the conventions of OpenTelemetry for HTTP."""

    def __init__(self, traces: Traces) -> None:
        self._traces = traces

    def begin(self, scope: Scope, parent: str | None, request_id: str) -> Span | None:
        """Begin the span of a request: in the caller's trace, or a new one; None for a probe."""
        path = scope["path"]
        if path in _PROBES:
            return None
        method = _method(scope)
        attributes = {
            "http.request.method": method,
            "url.scheme": scope.get("scheme", "http"),
            "url.path": path,
            "headrace.request.id": request_id,
        }
        return self._traces.begin(method, "server", parent, attributes)

    def end(self, span: Span, scope: Scope, status: int) -> None:
        """End it, with what became of the request; status 0 where the client got no answer."""
        route = getattr(scope.get("route"), "path", None)
        if route is not None:
            span.name(f"{_method(scope)} {route}")
            span.note({"http.route": route})
        if status:
            span.note({"http.response.status_code": status})
        span.end(str(status) if status >= 500 else "")


def _method(scope: Scope) -> str:
    method: str = scope["method"]
    return method if method in _METHODS else "_OTHER"
