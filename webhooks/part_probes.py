"""Health and metrics of the retries and the cron, whose own work blocks: from a thread."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

from jobs.errors import HeadraceError
from telemetry import logs
from telemetry.exposition import Exposition
from telemetry.probes import Probe, ProbeServer
from webhooks.pulse import Pulse
from webhooks.rq_connection import AWAY, rq_connection
from webhooks.settings import WebhookSettings

#: What a check of Redis may take: a prober's own patience is often no longer.
_ANSWER_S = 2.0
_START_S = 10.0

log = logs.get("webhooks.probes")


@contextlib.contextmanager
def probed(
    settings: WebhookSettings, stop: threading.Event, pulse: Pulse, *checks: Callable[[], object]
) -> Iterator[None]:
    """Answer `/healthz`, `/livez` and `/metrics` on `METRICS_PORT`, if it is set, while entered.

    Healthy is a process whose Redis of RQ answers, and whose own `checks` raise nothing. It lives
    while its loops have a pulse: this thread would answer beside one that hangs for ever.
    """
    if settings.metrics_port is None:
        yield
        return
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="probes", daemon=True)
    thread.start()

    def run(work: Coroutine[Any, Any, object]) -> None:
        asyncio.run_coroutine_threadsafe(work, loop).result(_START_S)

    rq = rq_connection(settings.rq_url)
    routes = _routes(stop, pulse, [rq.ping, *checks])
    server = ProbeServer(
        settings.metrics_port, routes, host=settings.probe_host, exposition=Exposition()
    )
    try:
        try:
            run(server.__aenter__())
        except OSError as error:
            # What is asked for is webhooks: a port that another has taken stops none of them.
            log.warning("probes_not_served", port=settings.metrics_port, error=str(error))
            yield
            return
        log.info("probes_served", port=server.port)
        try:
            yield
        finally:
            run(server.__aexit__(None, None, None))
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        rq.close()


def _routes(
    stop: threading.Event, pulse: Pulse, checks: list[Callable[[], object]]
) -> dict[str, Probe]:
    async def healthz() -> tuple[int, dict[str, Any]]:
        try:
            async with asyncio.timeout(_ANSWER_S):
                for check in checks:
                    await asyncio.to_thread(check)
        except (HeadraceError, TimeoutError, *AWAY) as error:
            reason = error.detail if isinstance(error, HeadraceError) else "Redis does not answer"
            return 503, {"status": "unavailable", "reason": reason}
        return 200, {"status": "ok"}

    async def livez() -> tuple[int, dict[str, Any]]:
        if stop.is_set():
            return 503, {"status": "stopping"}
        if (reason := pulse.stalled()) is not None:
            return 503, {"status": "stalled", "reason": reason}
        return 200, {"status": "ok"}

    return {"/healthz": healthz, "/livez": livez}
