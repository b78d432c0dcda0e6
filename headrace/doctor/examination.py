"""All checks, one after the other."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from headrace.doctor.books import books
from headrace.doctor.check import Check, DoctorSettings, Patient, error
from headrace.doctor.front import front
from headrace.doctor.models import models
from headrace.doctor.server import accepts, clocks, room, servers, settings
from headrace.doctor.webhooks import webhooks
from headrace.doctor.workers import workers
from jobs.connection import RedisConnections
from jobs.errors import HeadraceError
from jobs.policy import QueueOptions

#: Name of what a check looks at -> the check.
_CHECKS: dict[str, Callable[[Patient], Awaitable[list[Check]]]] = {
    "settings": settings,
    "replicas": accepts,
    "memory": room,
    "clock": clocks,
    "workers": workers,
    "models": models,
    "webhooks": webhooks,
    "books": books,
}


async def examine(told: DoctorSettings, *, url: str | None, quick: bool) -> list[Check]:
    """Look at everything; raises QueueUnavailable while Redis is away.

    `quick` leaves out what reads every key.
    """
    async with RedisConnections(
        told.queue_url, namespace=told.namespace, durability=told.durability, pool_size=2
    ) as connections:
        options = QueueOptions(beat_limit_s=told.beat_limit_s)
        patient = Patient(connections, options, told.durability)
        # While this one answers Redis is there; what the others meet is a finding.
        found = await servers(patient)
        for name, check in _CHECKS.items():
            if quick and check is books:
                continue
            try:
                found += await check(patient)
            except HeadraceError as refused:
                found.append(error(name, refused.detail))
    if url is not None:
        found += await front(url)
    return found
