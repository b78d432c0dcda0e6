"""The application: its routes, what surrounds them, and what lives as long as they do."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Iterator
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, FastAPI
from starlette.middleware.cors import CORSMiddleware
from starlette.types import ASGIApp

from api.front import Front, opened
from api.lean_route import LeanRouter
from api.middleware import Edge
from api.request_spans import RequestSpans
from api.routes import (
    batches,
    dead,
    documents,
    health,
    jobs,
    keys,
    models,
    submit,
    webhook_admin,
    webhooks,
)
from api.settings import ApiSettings
from jobs.errors import CODES
from telemetry import logs
from telemetry.exposition import Exposition, MetricsServer
from telemetry.queue_figures import QueueCollector, QueueFigures, ReadFigures, from_loop

if TYPE_CHECKING:
    from telemetry.otlp import Traces

#: In the order of matching: the submit comes first, dead deliveries before dead letters by id.
ROUTERS: tuple[APIRouter, ...] = (
    *(submit.router, jobs.router, batches.router, models.router, health.router),
    *(keys.router, webhook_admin.router, dead.router, webhooks.router, documents.router),
)

#: What a browser of an allowed origin may send, and may read of an answer.
_CORS_REQUEST = (
    *("Authorization", "Content-Type", "Idempotency-Key", "Prefer"),
    *("X-Request-Id", "traceparent"),
)
_CORS_ANSWER = (
    *("Idempotent-Replayed", "Location", "Preference-Applied", "Retry-After"),
    *("X-Request-Id", "traceparent"),
)

log = logs.get(__name__)

#: The framework's own spans and meters are not used; asking each time whether they are costs.
_NO_TELEMETRY: Any = {"tracing": False, "metrics": False, "logs": False}


class Application(FastAPI):
    """One API process; `front` is there between start and end of the lifespan."""

    def __init__(self, settings: ApiSettings, traces: Traces | None = None) -> None:
        self._settings = settings
        self._spans = None if traces is None else RequestSpans(traces)
        self._read_figures: ReadFigures | None = None
        self._exposition = Exposition(QueueCollector(self._figures))
        super().__init__(
            title="Headrace",
            lifespan=self._lifespan,
            openapi_url=None,
            redirect_slashes=False,
            telemetry=_NO_TELEMETRY,
        )
        self.front: Front | None = None
        #: Where the metrics are served, once they are.
        self.metrics_port: int | None = None
        for router in ROUTERS:
            # Not include_router(): it looks every request up once more in each included router.
            self.router.routes.extend(router.routes)

    def build_middleware_stack(self) -> ASGIApp:
        """Return what serves a request, from the outside in: CORS, the edge, the router."""
        routes = LeanRouter(self.routes, self.router)
        metrics = self._exposition.metrics
        edge = Edge(
            routes,
            metrics.request_observer,
            metrics.error_counter([code for code, known in CODES.items() if known.http_status]),
            spans=self._spans,
            log_each=self._settings.log_level == "debug",
        )
        origins = self._settings.cors_origins
        if not origins:
            return edge
        return CORSMiddleware(
            edge,
            allow_origins=origins,
            allow_methods=("GET", "POST", "DELETE"),
            allow_headers=_CORS_REQUEST,
            expose_headers=_CORS_ANSWER,
        )

    def drain(self) -> None:
        """Answer held waits at once, with each job as it is."""
        if self.front is not None:
            self.front.drain()

    @contextlib.asynccontextmanager
    async def _lifespan(self, _: FastAPI) -> AsyncIterator[None]:
        async with opened(self._settings, self._exposition.metrics) as front:
            self.front = front
            self._read_figures = from_loop(asyncio.get_running_loop(), front.figures)
            with self._metrics_server():
                yield
            self._read_figures = None

    @contextlib.contextmanager
    def _metrics_server(self) -> Iterator[None]:
        port = self._settings.metrics_port
        if port is None:
            yield
            return
        with MetricsServer(self._exposition, self._settings.api_host, port) as server:
            self.metrics_port = server.port
            log.info("metrics_listen", port=server.port)
            yield

    def _figures(self) -> list[QueueFigures] | None:
        figures = None if self._read_figures is None else self._read_figures()
        return None if figures is None else list(figures)


def create_app(settings: ApiSettings, traces: Traces | None = None) -> Application:
    """Return the application; nothing connects before its lifespan begins."""
    return Application(settings, traces)
