"""One HTTP server process: uvicorn, with a drain that lets held requests go first."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from collections.abc import Generator

import uvicorn

from api.app import Application, create_app
from api.settings import ApiSettings
from telemetry import traces


class DrainingServer(uvicorn.Server):
    """A uvicorn server that drains its application before it waits for open requests."""

    def __init__(self, config: uvicorn.Config, application: Application) -> None:
        super().__init__(config)
        self._application = application

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Answer held waits at once, take leave of connections, then close as uvicorn does."""
        began = time.monotonic()
        self._application.drain()
        await self._take_leave()
        # What taking leave took is a part of the drain.
        left = self.config.timeout_graceful_shutdown or 0
        self.config.timeout_graceful_shutdown = max(1, left - round(time.monotonic() - began))
        await super().shutdown(sockets)

    async def _take_leave(self) -> None:
        """Serve on for a moment; what is answered now says that its connection ends with it.

        To close a connection that happens to be idle would lose the request that is on its way.
        """
        state = self.server_state
        for connection in list(state.connections):
            # What is being answered has the headers of its own time, but this closes it, too.
            if (cycle := getattr(connection, "cycle", None)) is not None:
                cycle.keep_alive = False
        state.default_headers = [*state.default_headers, (b"connection", b"close")]
        deadline = time.monotonic() + _LEAVE_S
        while state.connections and time.monotonic() < deadline:
            if self.force_exit:
                return
            await asyncio.sleep(_LEAVE_S / 50)

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Take SIGTERM and SIGINT as the wish to end, which is no failure: the exit code is 0."""
        # uvicorn raises the signal once more after its clean end, and so dies of it.
        before = {sig: signal.signal(sig, self.handle_exit) for sig in STOP_SIGNALS}
        try:
            yield
        finally:
            for sig, handler in before.items():
                signal.signal(sig, handler)


STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)
#: Longer than proxies keep an idle connection to it, 60 s as a rule: who closes first may lose what
#: the other is about to send.
_IDLE_S = 75
#: A connection that was idle for so long is closed on the client.
_LEAVE_S = 1.0


def serve(settings: ApiSettings, listener: socket.socket) -> bool:
    """Serve until a signal says stop; False when the application could not start."""
    with traces.opened("api") as tracing:
        return _serve(create_app(settings, tracing), settings, listener)


def _serve(application: Application, settings: ApiSettings, listener: socket.socket) -> bool:
    config = uvicorn.Config(
        application,
        loop="uvloop",
        http="httptools",
        ws="none",
        lifespan="on",
        log_config=None,
        access_log=False,
        server_header=False,
        proxy_headers=False,
        timeout_keep_alive=_IDLE_S,
        timeout_graceful_shutdown=max(1, int(settings.drain_s)),
    )
    server = DrainingServer(config, application)
    try:
        server.run(sockets=[listener])
    except SystemExit:
        return False
    return server.started
