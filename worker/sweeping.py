"""What every worker does for all: deadlines, backoffs, lifetimes, and jobs of dead workers."""

import asyncio

from jobs.adoption import Adopted
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
                station.metrics.jobs_finished.labels(model, version, "expired", "expired").inc()
            adopted = await station.queue.adopt()
            failing = False
        except TRANSIENT as error:
            if not failing:
                log.warning("sweep_failed", why=error.detail)
            failing = True
        else:
            for each in adopted:
                _count(station, each)
                log.warning(
                    "job_adopted", job_id=each.id, life=each.life, was=each.was, now=each.verdict
                )
        await asyncio.sleep(EVERY_S)


def _count(station: Station, adopted: Adopted) -> None:
    if adopted.verdict == "ok":
        station.metrics.requeues.labels("worker_lost").inc()
        return
    status = "failed" if adopted.verdict == "poisoned" else adopted.verdict
    labels = (adopted.model, adopted.version, status, adopted.verdict)
    station.metrics.jobs_finished.labels(*labels).inc()
