"""The worker's small HTTP server: health, liveness and metrics, for Kubernetes and Prometheus."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import TracebackType
from typing import Any, Self

from aiohttp import web

from telemetry.exposition import Exposition

#: Answers one probe: the HTTP status and the JSON that says why.
Probe = Callable[[], Awaitable[tuple[int, dict[str, Any]]]]


class ProbeServer:
    """Serves `routes` (path -> probe) and, with an exposition, `/metrics`, while entered."""

    def __init__(
        self,
        port: int,
        routes: Mapping[str, Probe],
        *,
        host: str = "127.0.0.1",
        exposition: Exposition | None = None,
    ) -> None:
        self._host = host
        self._port = port
        self._routes = dict(routes)
        self._exposition = exposition
        self._runner: web.AppRunner | None = None

    @property
    def port(self) -> int:
        """The port it listens on, also where 0 was asked for."""
        addresses = self._runner.addresses if self._runner else []
        return int(addresses[0][1]) if addresses else self._port

    async def __aenter__(self) -> Self:
        app = web.Application()
        for path, probe in self._routes.items():
            app.router.add_get(path, _handler(probe))
        if self._exposition is not None:
            app.router.add_get("/metrics", self._scrape)
        self._runner = web.AppRunner(
            app, access_log=None, handle_signals=False, shutdown_timeout=1.0
        )
        try:
            await self._runner.setup()
            await web.TCPSite(self._runner, self._host, self._port).start()
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self._close()

    async def _close(self) -> None:
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    async def _scrape(self, request: web.Request) -> web.Response:
        assert self._exposition is not None
        # In a thread: collectors may wait for this very event loop.
        accept = request.headers.get("Accept", "")
        body, content_type = await asyncio.to_thread(self._exposition.answer, accept)
        return web.Response(body=body, headers={"Content-Type": content_type})


def _handler(probe: Probe) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def answer(_: web.Request) -> web.Response:
        status, body = await probe()
        return web.json_response(body, status=status)

    return answer
