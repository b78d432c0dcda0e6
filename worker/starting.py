"""The start of batches: `running` stands in Redis before the GPU begins."""

import asyncio
import time

from telemetry import logs
from telemetry.traces import exemplar, trace_fields
from worker.backoff import TRANSIENT, Backoff
from worker.cancels import Cancels
from worker.holding import Batch, Held, Phase
from worker.returning import Returner
from worker.station import Station
from worker.wire import Formed, Go

#: start calls in flight
AT_A_TIME = 4

log = logs.get("worker.starting")


class Starter:
    """Answers each batch that the engine has formed with those that may run."""

    def __init__(self, station: Station, returner: Returner, cancels: Cancels) -> None:
        self._station = station
        self._returner = returner
        self._cancels = cancels
        self._formed: asyncio.Queue[Formed] = asyncio.Queue()
        self._queue_seconds = station.metrics.queue_seconds.labels(station.model)

    def formed(self, frame: Formed) -> None:
        """Take a formed batch into the queue of starts."""
        self._formed.put_nowait(frame)

    async def run(self) -> None:
        """Start batches until canceled, several at a time: short ones would wait for each other."""
        async with asyncio.TaskGroup() as group:
            for _ in range(AT_A_TIME):
                group.create_task(self._start_one_by_one())

    async def _start_one_by_one(self) -> None:
        while True:
            await self._start(await self._formed.get())

    def engine_died(self) -> None:
        """What was formed is gone."""
        while not self._formed.empty():
            self._formed.get_nowait()

    async def _start(self, frame: Formed) -> None:
        station = self._station
        jobs = list(station.holding.of(frame.feeds, Phase.FED))
        if station.quiet or not jobs:
            station.engine.send(Go(frame.batch, []))
            self._returner.uncharged(jobs, "drain")
            return
        life = station.engine.life
        fed_at = min(held.since for held in jobs)
        for held in jobs:
            station.holding.move(held, Phase.STARTING)
        verdicts = await self._insist(jobs, life)
        # Also when the engine has died meanwhile: they have ended, and nobody else counts them.
        station.count_expired(list(verdicts.values()).count("expired"))
        if life == station.engine.life and station.engine.ready:
            self._go(Batch(frame.batch, [], len(jobs), fed_at), jobs, verdicts)

    async def _insist(self, jobs: list[Held], life: int) -> dict[str, str]:
        """Ask until Redis answers: a batch that runs unrecorded would make a lie of its state."""
        backoff = Backoff(0.02, 1.0)
        while life == self._station.engine.life:
            try:
                return await self._station.queue.start([held.job for held in jobs])
            except TRANSIENT as error:
                if backoff.failures == 0:
                    log.warning("start_delayed", count=len(jobs), why=error.detail)
                await asyncio.sleep(backoff.next_s())
        return {}

    def _go(self, batch: Batch, jobs: list[Held], verdicts: dict[str, str]) -> None:
        station = self._station
        now, now_ms = station.clock(), time.time() * 1000
        if station.spans is not None:
            started = [held for held in jobs if verdicts.get(held.id) == "ok"]
            station.spans.started(started, len(jobs))
        for held in jobs:
            if held.phase is not Phase.STARTING:
                continue
            verdict = verdicts.get(held.id, "lost")
            if verdict != "ok":
                fields = trace_fields(held.job.traceparent)
                log.info("job_not_started", job_id=held.id, verdict=verdict, **fields)
                station.holding.forget(held)
                continue
            station.holding.move(held, Phase.STARTED)
            held.since = now
            if held.canceled:
                self._cancels.ended_before_the_gpu(held)
                continue
            batch.feeds.append(held.feed)
            seconds = max(now_ms - held.job.created_at, 0) / 1000
            where = None if station.spans is None else exemplar(held.job.traceparent)
            self._queue_seconds.observe(seconds, where)
        if batch.feeds:
            station.holding.batches[batch.number] = batch
        station.engine.send(Go(batch.number, batch.feeds))
        station.changed.set()
