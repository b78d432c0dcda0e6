"""What models tell of running jobs: the newest of each, a few times a second, best effort."""

import asyncio

import orjson

from telemetry import logs
from worker.backoff import TRANSIENT
from worker.holding import AT_WORK
from worker.station import Station
from worker.wire import Progress

EVERY_S = 0.25

log = logs.get("worker.progress")


class ProgressReporter:
    """Coalesces progress, so that a chatty model costs one call per interval."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._newest: dict[int, bytes] = {}
        self._told = asyncio.Event()

    def heard(self, frame: Progress) -> None:
        """Keep the newest word on a job."""
        told = {"fraction": frame.fraction, "message": frame.message}
        self._newest[frame.feed] = orjson.dumps(told)
        self._told.set()

    async def run(self) -> None:
        """Report until canceled."""
        while True:
            await self._told.wait()
            self._told.clear()
            newest, self._newest = self._newest, {}
            jobs = [
                (held.id, held.job.token, newest[held.feed])
                for held in self._station.holding.of(newest, *AT_WORK)
            ]
            if jobs:
                try:
                    await self._station.queue.progress(jobs)
                except TRANSIENT as error:
                    log.debug("progress_not_reported", why=error.detail)
            await asyncio.sleep(EVERY_S)
