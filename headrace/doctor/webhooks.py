"""The webhooks: does anybody tell receivers, and make due what has to be tried again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from headrace.doctor.check import Check, Patient, error, ok, warning
from headrace.doctor.server import redis_time_s
from jobs import keys, scripts
from jobs.connection import translated
from jobs.shards import SHARDS

#: A sender looks each second at the shards in use and within half a minute at all others: an event
#: that is older is seen by nobody.
UNTOLD_S = 60.0
#: RQ's cron makes due what is late by a quarter of a minute, a sender what is late by a minute.
OVERDUE_S = 120.0
#: A receiver that fails is left alone for ten minutes at most.
STUCK_S = 1800.0
_RUN = "Run: headrace webhooks run (headrace up does it)."


@dataclass(slots=True)
class Outboxes:
    """What is to be told, over all shards."""

    #: Events that are no deliveries yet, and the age of the oldest.
    events: int = 0
    oldest_s: float = 0.0
    deliveries: int = 0
    retries: int = 0
    #: Retries that should have been made due long ago.
    overdue: int = 0
    #: Receivers of which a delivery has been due for long.
    stuck: int = 0


async def webhooks(patient: Patient) -> list[Check]:
    """Look at what waits on each shard, and at endpoints that are disabled."""
    outboxes, disabled = Outboxes(), set[bytes]()
    for shard in range(SHARDS):
        await _add(outboxes, patient, shard)
        disabled |= await _disabled(patient, shard)
    return judge(outboxes, len(disabled))


def judge(found: Outboxes, disabled: int) -> list[Check]:
    """Say what is wrong with the telling of receivers."""
    wrong = [*_untold(found), *_overdue(found), *_off(disabled)]
    waiting = found.events + found.deliveries + found.retries
    return wrong or [ok("webhooks", f"{waiting} events and deliveries wait, none for too long")]


def _untold(found: Outboxes) -> list[Check]:
    if found.oldest_s > UNTOLD_S:
        says = f"nobody tells receivers: {found.events} events wait, for {found.oldest_s:.0f} s"
        return [error("webhooks", says, _RUN)]
    if not found.stuck:
        return []
    says = f"{found.stuck} receivers have a delivery that has been due for {STUCK_S / 60:.0f} min"
    advice = (
        "They are slow or fail (headrace webhooks endpoints ls), or nobody tells them: then run "
        "headrace webhooks run."
    )
    return [warning("webhooks", says, advice)]


def _overdue(found: Outboxes) -> list[Check]:
    if not found.overdue:
        return []
    says = (
        f"{found.overdue} retries are late by over {OVERDUE_S / 60:.0f} min: neither RQ with its "
        "cron nor a sender makes them due"
    )
    return [warning("retries", says, _RUN)]


def _off(disabled: int) -> list[Check]:
    if not disabled:
        return []
    advice = "See why with headrace webhooks endpoints ls; enable ID takes one into service again."
    return [
        warning("endpoints", f"{disabled} endpoints are disabled: nothing is sent them", advice)
    ]


async def _add(outboxes: Outboxes, patient: Patient, shard: int) -> None:
    args = [*patient.options.policy, int(OVERDUE_S * 1000)]
    waits = await patient.connections.run(scripts.WAITING, shard, args)
    events, deliveries, retries, overdue = (int(each) for each in waits)
    outboxes.events += events
    outboxes.deliveries += deliveries
    outboxes.retries += retries
    outboxes.overdue += overdue
    if not events and not deliveries:
        return
    prefix = keys.shard_prefix(patient.connections.namespace, shard)
    client = patient.connections.client
    now = await redis_time_s(patient, shard)
    with translated():
        first = cast(list[tuple[bytes, Any]], await client.xrange(f"{prefix}outbox", count=1))
        for entry, _ in first:
            oldest_s = now - int(entry.partition(b"-")[0]) / 1000
            outboxes.oldest_s = max(outboxes.oldest_s, oldest_s)
        due_since = (now - STUCK_S) * 1000
        outboxes.stuck += await client.zcount(f"{prefix}lines", "-inf", due_since)


async def _disabled(patient: Patient, shard: int) -> set[bytes]:
    prefix = keys.shard_prefix(patient.connections.namespace, shard)
    client, disabled = patient.connections.client, set[bytes]()
    with translated():
        # Not by the script that lists them: it takes out of the list what is gone.
        failing = cast(list[bytes], await client.zrange(f"{prefix}failing", 0, -1))
        for endpoint in failing:
            name = f"{prefix}endpoint:{endpoint.decode()}"
            if await client.hexists(name, "disabled_at"):
                disabled.add(endpoint)
    return disabled
