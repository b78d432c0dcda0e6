"""What one API process holds while it serves: its connections, its live views, its background."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from prometheus_client import Counter

from api.admission import Admission
from api.auth import Doorkeeper
from api.input_schema import SubmitValidator, Validators
from api.load import LoadWatch
from api.settings import ApiSettings
from api.webhook_check import NameCheck, WebhookCheck
from egress.resolver import SystemResolver
from jobs.adoption import Unbroken, adopt
from jobs.cards import CardEntry, CardWatch
from jobs.connection import RedisConnections
from jobs.deliveries import DeliveryLog
from jobs.errors import HeadraceError, QueueUnavailable, WrongRedis
from jobs.keystore import KeyRing, KeyStore
from jobs.overview import ModelOverview, overview
from jobs.policy import QueueOptions
from jobs.queue import JobQueue
from jobs.shards import SHARDS
from jobs.states import Priority
from jobs.webhook_secrets import WebhookSecrets
from telemetry import logs
from telemetry.metrics import Metrics
from telemetry.queue_figures import QueueFigures

#: How often the sweeps run and the figures are read; each process has its own moment.
BEAT_S = 1.0
#: How long a check of Redis's settings holds, and how long a start waits for the first.
_VERIFY_S = 60.0
_FIRST_CHECK_S = 2.0

log = logs.get(__name__)


@dataclass(frozen=True, slots=True)
class Webhooks:
    """What the API does with webhooks: it lets them in, and shows what became of them."""

    check: WebhookCheck
    secrets: WebhookSecrets
    log: DeliveryLog


@dataclass(slots=True)
class Front:
    """Everything a handler may need; one per process, made by `opened`."""

    settings: ApiSettings
    connections: RedisConnections
    queue: JobQueue
    cards: CardWatch
    ring: KeyRing
    keys: KeyStore
    loads: LoadWatch
    admission: Admission
    doorkeeper: Doorkeeper
    validators: Validators
    webhooks: Webhooks
    metrics: Metrics
    #: The OpenAPI document and the revision of the cards that it tells of.
    document: tuple[int, bytes] | None = None
    draining: bool = False
    #: Redis answered, can keep the promise, and has the keys of the keys file.
    verified: bool = False
    #: Why it is not.
    unverified: str = "Redis has not been checked yet."
    _verified_at: float = 0.0
    #: Names of background tasks that have ended with an error: this process is not alive.
    broken: list[str] = field(default_factory=list)
    _submitted: dict[tuple[str, Priority], Counter] = field(default_factory=dict)
    _unbroken: Unbroken = field(default_factory=Unbroken)
    _unused_shards: Any = field(default_factory=lambda: itertools.cycle(range(SHARDS)))

    def drain(self) -> None:
        """Let held requests go; from now on this process counts as leaving."""
        self.draining = True
        self.queue.drain()

    def validator(self, entry: CardEntry) -> SubmitValidator:
        """Return the compiled check of a card's input."""
        return self.validators.get(entry.model, entry.version, entry.card["input_schema"])

    def count_submitted(self, model: str, priority: Priority, count: int = 1) -> None:
        """Count accepted jobs."""
        counter = self._submitted.get((model, priority))
        if counter is None:
            counter = self.metrics.jobs_submitted.labels(model, priority.value)
            self._submitted[model, priority] = counter
        counter.inc(count)

    def count_finished(self, model: str, version: str, code: str) -> None:
        """Count a job that ended without a worker: expired, canceled or poisoned."""
        status = "failed" if code == "poisoned" else code
        self.metrics.jobs_finished.labels(model, version, status, code).inc()

    async def verify(self) -> None:
        """Check Redis once it answers, and again each minute: it may be another one by then.

        Raises WrongRedis, BadKey.
        """
        now = time.monotonic()
        if self.verified and now - self._verified_at < _VERIFY_S:
            return
        try:
            warnings = await self.connections.verify()
        except WrongRedis as error:
            self.verified, self.unverified = False, error.detail
            raise
        if not self.verified:
            for warning in warnings:
                log.warning("redis_unverified", detail=warning)
            if self.settings.keys_file is not None:
                await self.keys.seed(self.settings.keys_file)
            await self.ring.refresh()
            await self.cards.refresh()
        self.verified, self._verified_at = True, now

    def require_verified(self) -> None:
        """Refuse a submit while it is not known that Redis keeps what is accepted."""
        if not self.verified:
            raise QueueUnavailable(self.unverified, retry_after_s=2)

    async def sweep(self) -> None:
        """Do what is due in every shard in use, and look at one more for jobs without a card.

        Jobs of a worker that vanished go back to the line here too: with no other worker alive
        they would be called running for ever.
        """
        shards = {shard for model in self.cards.shards().values() for shard in model}
        pages = [*sorted(shards), next(self._unused_shards)]
        for model, version in await self.queue.sweep(pages):
            self.count_finished(model, version, "expired")
        options = self.settings.queue_options()
        for each in await adopt(self.connections, options, pages, self._unbroken):
            if each.verdict == "ok":
                self.metrics.requeues.labels("worker_lost").inc()
            else:
                self.count_finished(each.model, each.version, each.verdict)
            log.warning(
                "job_adopted", job_id=each.id, life=each.life, was=each.was, now=each.verdict
            )

    async def figures(self) -> list[QueueFigures] | None:
        """Return what a scrape shows of every model; None while Redis is away."""
        found = []
        for model in self.cards.models():
            try:
                load = await self.loads.now(model)
            except HeadraceError:
                return None
            found.append(
                QueueFigures(
                    model=model,
                    queued=load.queued,
                    running=load.running,
                    workers_ready=load.ready,
                    oldest_s=load.oldest_s,
                    backlog_s=load.backlog_seconds,
                )
            )
        return found if found or await self.connections.healthy() else None


@contextlib.asynccontextmanager
async def opened(settings: ApiSettings, metrics: Metrics) -> AsyncIterator[Front]:
    """Connect, follow cards and keys, and sweep; the order of these blocks is that of closing."""
    async with contextlib.AsyncExitStack() as stack:
        connections = await stack.enter_async_context(
            RedisConnections(
                settings.redis_url,
                namespace=settings.namespace,
                durability=settings.durability,
                # A client is told to come back; to wait for a Redis that hangs helps nobody.
                fail_fast=True,
            )
        )
        options = settings.queue_options()
        queue = await stack.enter_async_context(
            JobQueue(connections, options, process_id=uuid.uuid4().hex)
        )
        cards = await stack.enter_async_context(CardWatch(connections))
        ring = await stack.enter_async_context(KeyRing(connections))
        loads = LoadWatch(partial(_overview, connections, options, cards), cards.models)
        front = Front(
            settings=settings,
            connections=connections,
            queue=queue,
            cards=cards,
            ring=ring,
            keys=KeyStore(connections),
            loads=loads,
            admission=Admission(connections, queue, loads),
            doorkeeper=Doorkeeper(
                ring, may_be_open=settings.may_answer_anybody, local_only=not settings.insecure
            ),
            validators=Validators(),
            webhooks=await stack.enter_async_context(_webhooks(settings, connections, queue)),
            metrics=metrics,
        )
        # Counted from 0: an increase from nothing is not seen.
        metrics.requeues.labels("worker_lost")
        # So that the first request finds Redis checked; the background tries on if it is away.
        with contextlib.suppress(HeadraceError, TimeoutError):
            async with asyncio.timeout(_FIRST_CHECK_S):
                await front.verify()
        async with _background(front):
            yield front


@contextlib.asynccontextmanager
async def _webhooks(
    settings: ApiSettings, connections: RedisConnections, queue: JobQueue
) -> AsyncIterator[Webhooks]:
    secrets = WebhookSecrets(connections)
    async with (
        SystemResolver() as resolver,
        NameCheck(settings.egress_policy(), resolver) as names,
    ):
        yield Webhooks(
            check=WebhookCheck(queue, secrets, names, signed=settings.webhook_secret is not None),
            secrets=secrets,
            log=DeliveryLog(connections, settings.queue_options()),
        )


async def _overview(
    connections: RedisConnections, options: QueueOptions, cards: CardWatch, model: str
) -> ModelOverview:
    return await overview(
        connections,
        options,
        model=model,
        versions=[entry.version for entry in cards.versions(model)],
        shards=cards.shards([model]).get(model, ()),
        production=cards.production(model),
    )


@contextlib.asynccontextmanager
async def _background(front: Front) -> AsyncIterator[None]:
    actions = {
        "verify": front.verify,
        "sweep": front.sweep,
        "room": front.admission.refresh,
    }
    tasks = [
        asyncio.create_task(_repeat(name, action), name=name) for name, action in actions.items()
    ]
    for task in tasks:
        task.add_done_callback(lambda ended: _note_end(front, ended))
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _repeat(name: str, action: Callable[[], Awaitable[None]]) -> None:
    away = False
    while True:
        try:
            await action()
            away = False
        except HeadraceError as error:
            if not away:
                log.warning("background_paused", task=name, code=error.code, detail=error.detail)
            away = True
        await asyncio.sleep(BEAT_S * random.uniform(0.8, 1.2))


def _note_end(front: Front, task: asyncio.Task[None]) -> None:
    if task.cancelled():
        return
    front.broken.append(task.get_name())
    log.critical("background_task_died", task=task.get_name(), exc_info=task.exception())
