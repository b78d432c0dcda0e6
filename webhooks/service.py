"""The sender's process: what it is put together from, and how it tells its health."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import socket
import time
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any

from egress.connect import EgressClient, Limits
from jobs.connection import RedisConnections
from jobs.errors import QueueUnavailable
from jobs.ids import uuid7
from jobs.outbox import Outbox
from jobs.webhook_secrets import WebhookSecrets
from telemetry import logs
from telemetry.exposition import Exposition
from telemetry.probes import Probe, ProbeServer
from telemetry.webhook_figures import PendingCollector
from webhooks.breaker import Breaker
from webhooks.hand import MOST_UNDER_WAY
from webhooks.results import OUTCOMES, Results
from webhooks.retry_queue import RetryQueue
from webhooks.rq_connection import rq_connection
from webhooks.rq_parts import queue_on
from webhooks.schedule import Schedule
from webhooks.sender import Sender
from webhooks.settings import WebhookSettings
from webhooks.signing import Signer
from webhooks.spans import TrySpans
from webhooks.trying import Trier

if TYPE_CHECKING:
    from telemetry.otlp import Traces

#: A sender that has heard nothing from Redis for so long is not well.
_SILENCE_S = 15.0
_PAUSE_S = 1.0
_KEEP_ALIVE_S = 15.0

log = logs.get("webhooks.service")


async def serve(settings: WebhookSettings, traces: Traces | None = None) -> None:
    """Run the sender until told to stop; raises WrongRedis."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with AsyncExitStack() as stack:
        connections = RedisConnections(
            settings.redis_url, namespace=settings.namespace, durability=settings.durability
        )
        await stack.enter_async_context(connections)
        exposition = Exposition()
        spans = None if traces is None else TrySpans(traces)
        sender = await _assemble(settings, connections, exposition, spans, stack)
        exposition.registry.register(PendingCollector(lambda: sender.pending))
        if settings.metrics_port is not None:
            server = ProbeServer(
                settings.metrics_port,
                probes(sender),
                host=settings.probe_host,
                exposition=exposition,
            )
            await stack.enter_async_context(server)
            log.info("probes_served", port=server.port)
        if await _verified(connections, stop):
            log.info("sender_started")
            await sender.run(stop, settings.drain_s)
    log.info("sender_ended")


async def _assemble(
    settings: WebhookSettings,
    connections: RedisConnections,
    exposition: Exposition,
    spans: TrySpans | None,
    stack: AsyncExitStack,
) -> Sender:
    # The hand keeps endpoints apart. A limit by host here would let tries wait for each other in
    # their own time: of many paths or tenants at one host, those behind would fail untried.
    limits = Limits(MOST_UNDER_WAY, MOST_UNDER_WAY, _KEEP_ALIVE_S)
    client = await stack.enter_async_context(EgressClient(settings.egress_policy(), limits=limits))
    rq = rq_connection(settings.rq_url)
    stack.callback(rq.close)
    retries = await stack.enter_async_context(RetryQueue(queue_on(rq, settings.namespace)))
    outbox = Outbox(connections, settings.queue_options(), sender=_name())
    counted = exposition.metrics.webhook_deliveries
    for outcome in OUTCOMES:
        counted.labels(outcome)
    results = Results(outbox, retries, lambda outcome: counted.labels(outcome).inc())
    signer = Signer(WebhookSecrets(connections), settings.secret())
    trier = Trier(client.post, signer.headers, settings.webhook_timeout_s, spans=spans)
    scale = settings.webhook_delay_scale
    return Sender(outbox, trier, results, Schedule(scale), breaker=Breaker(scale=scale))


def _name() -> str:
    """Return a name that no other process life has."""
    return f"{socket.gethostname()}-{os.getpid()}-{uuid7():032x}"


async def _verified(connections: RedisConnections, stop: asyncio.Event) -> bool:
    """Wait for Redis to answer; False where the sender is told to stop before."""
    while not stop.is_set():
        try:
            for warning in await connections.verify():
                log.warning("redis_unverified", detail=warning)
        except QueueUnavailable as error:
            log.warning("redis_away", error=error.detail)
        else:
            return True
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PAUSE_S):
                await stop.wait()
    return False


def probes(sender: Sender) -> dict[str, Probe]:
    """Return what is asked for the sender's health, by path."""

    async def healthz() -> tuple[int, dict[str, Any]]:
        if time.monotonic() - sender.heard_at > _SILENCE_S:
            return 503, {"status": "unavailable", "reason": "Redis does not answer"}
        return 200, {"status": "ok", "pending": sender.pending}

    async def livez() -> tuple[int, dict[str, Any]]:
        if sender.stopping:
            return 503, {"status": "stopping"}
        return 200, {"status": "ok"}

    return {"/healthz": healthz, "/livez": livez}
