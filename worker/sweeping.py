"""What every worker does for all: deadlines, backoffs, lifetimes, and jobs of dead workers."""

import asyncio

from telemetry import logs
from worker.backoff import TRANSIENT
from worker.station import Station

EVERY_S = 1.0

log = logs.get("worker.sweeping")


async def sweep_for_ever(station: Station) -> None:
    """Sweep the model's shards each second."""
    failing = False
    while True:
        try:
            for model, version in await station.queue.sweep():
                station.count_finished(model, version, "expired")
            moved = 0 if station.rules.pinned_only else await station.queue.follow()
            if moved:
                log.info("jobs_followed", count=moved, version=station.version)
            adopted = await station.queue.adopt()
            failing = False
        except TRANSIENT as error:
            if not failing:
                log.warning("sweep_failed", why=error.detail)
            failing = True
        else:
            for each in adopted:
                station.count_adopted(each)
                log.warning(
                    "job_adopted", job_id=each.id, life=each.life, was=each.was, now=each.verdict
                )
        await asyncio.sleep(EVERY_S)
