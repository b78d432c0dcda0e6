"""What surrounds every request: its id, its trace, its metrics, and the last net for errors."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from api import headers
from api.problems import as_error, internal_error, problem_response
from api.request_spans import RequestSpans
from api.responses import Header
from jobs.errors import HeadraceError
from telemetry import logs
from telemetry.traces import exemplar, trace_fields

if TYPE_CHECKING:
    from telemetry.otlp import Span

#: Keys of the ASGI scope that handlers read.
HEADERS = "headrace.headers"
REQUEST_ID = "headrace.request_id"
TRACEPARENT = "headrace.traceparent"

log = logs.get(__name__)


#: Takes note of a request: (method, route, status, seconds, exemplar).
Observe = Callable[[str, str, int, float, dict[str, str] | None], None]
#: Takes note of a request that was not served, by its error's code.
Refused = Callable[[str], None]


class Edge:
    """The outermost layer, one per process."""

    def __init__(
        self,
        app: ASGIApp,
        observe: Observe,
        refused: Refused,
        *,
        spans: RequestSpans | None = None,
        log_each: bool = False,
    ) -> None:
        """Serve `app`; with `log_each` every request gets a line, which costs as much as it."""
        self.app = app
        self.observe = observe
        self.refused = refused
        self.spans = spans
        self.log_each = log_each

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; nothing leaves this without an answer and a line of metrics."""
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        began = time.perf_counter()
        given = dict(scope["headers"])
        exchange = _Exchange(send, given)
        if self.spans is not None:
            exchange.begin(self.spans, scope)
        scope[HEADERS] = given
        scope[REQUEST_ID] = exchange.request_id
        scope[TRACEPARENT] = exchange.traceparent
        try:
            await self.app(scope, receive, exchange.send)
        except ClientDisconnect:
            log.debug("client_went_away", request_id=exchange.request_id)
        except HeadraceError as error:
            self.refused(error.code)
            await exchange.refuse(error, scope, receive)
        except (HTTPException, RequestValidationError) as error:
            problem = as_error(error, scope)
            self.refused(problem.code)
            await exchange.refuse(problem, scope, receive)
        except Exception:  # the 500 handler: whatever it was, the client gets a problem
            self.refused(HeadraceError.code)
            if await exchange.fail(scope, receive):
                raise
        finally:
            route = getattr(scope.get("route"), "path", "unmatched")
            seconds = time.perf_counter() - began
            found = None if self.spans is None else exchange.end(self.spans, scope)
            self.observe(scope["method"], route, exchange.status, seconds, found)
            if self.log_each:
                log.debug("request", status=exchange.status, seconds=seconds, **exchange.of(scope))


class _Exchange:
    """One request on its way out."""

    __slots__ = ("_extra", "_send", "_span", "request_id", "status", "traceparent")

    def __init__(self, send: Send, given: dict[bytes, bytes]) -> None:
        self._send = send
        self.request_id = headers.request_id(given.get(b"x-request-id"))
        self._extra: list[Header] = [(b"x-request-id", self.request_id.encode())]
        parent = given.get(b"traceparent")
        self.traceparent = headers.traceparent(parent)
        if parent is not None and self.traceparent is not None:
            self._extra.append((b"traceparent", parent))
        self._span: Span | None = None
        self.status = 0

    def begin(self, spans: RequestSpans, scope: Scope) -> None:
        """Begin its span: from now on that is what all it causes belongs to."""
        self._span = spans.begin(scope, self.traceparent, self.request_id)
        if self._span is not None:
            self.traceparent = self._span.traceparent
            del self._extra[1:]
            self._extra.append((b"traceparent", self.traceparent.encode()))

    def end(self, spans: RequestSpans, scope: Scope) -> dict[str, str] | None:
        """End its span, if it has one; return where to find it, if it was recorded."""
        if self._span is None:
            return None
        spans.end(self._span, scope, self.status)
        return exemplar(self._span.traceparent)

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            message["headers"] = [*message["headers"], *self._extra]
        await self._send(message)

    async def refuse(self, error: HeadraceError, scope: Scope, receive: Receive) -> None:
        response = problem_response(error, scope, self.request_id)
        if response.status_code >= 500:
            log.warning("request_refused", code=error.code, detail=error.detail, **self.of(scope))
        await response(scope, receive, self.send)

    async def fail(self, scope: Scope, receive: Receive) -> bool:
        """Answer with a 500; True when the response had begun, so that the server must cut it."""
        log.exception("request_failed", **self.of(scope))
        if self.status:
            return True
        await internal_error(scope, self.request_id)(scope, receive, self.send)
        return False

    def of(self, scope: Scope) -> dict[str, Any]:
        """Return what every log line about this request carries."""
        return {
            "request_id": self.request_id,
            "traceparent": self.traceparent,
            "method": scope["method"],
            "path": scope["path"],
            **(trace_fields(self.traceparent) if self._span is None else self._span.fields),
        }
