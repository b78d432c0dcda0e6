"""From what the engine says of a job to the outcome that Redis records."""

import functools
import time
from collections.abc import Sequence
from typing import NamedTuple

from jobs.worker_queue import Outcome
from telemetry import logs
from telemetry.traces import exemplar
from worker.delivery import Delivery
from worker.holding import AT_WORK, LEAVING, Held, Phase
from worker.outcomes import outcome_of
from worker.station import Station
from worker.wire import Item

log = logs.get("worker.settling")


class _Parcel(NamedTuple):
    """An outcome on its way to Redis, and whether its job was running."""

    held: Held
    outcome: Outcome
    code: str
    begun: bool


class Settler:
    """Makes outcomes and sees to it that Redis gets them."""

    def __init__(self, station: Station) -> None:
        self._station = station
        # Looking labels up costs more than counting.
        self._finished = functools.cache(station.metrics.jobs_finished.labels)
        self._end_to_end = station.metrics.end_to_end_seconds.labels(station.model)
        self.delivery: Delivery[_Parcel] = Delivery(
            "settle",
            self._deliver,
            size=lambda each: len(each.outcome.payload),
            # What names the shard in an id: reading its number costs more than the rest.
            lane=lambda each: each.held.id[4:7],
        )

    def ended(self, items: Sequence[Item]) -> None:
        """Record what became of jobs that the engine has answered."""
        fed = self._station.holding.fed
        parcels = []
        for item in items:
            held = fed.get(item.feed)
            if held is not None and held.phase not in LEAVING:
                parcels.append(self._parcel(held, item.output, item.error))
        self.delivery.post(parcels)

    def gave_up(self, jobs: Sequence[Held], stacks: str = "") -> None:
        """Record jobs whose engine was killed for their sake."""
        self.delivery.post([self._parcel(held, None, None, stacks) for held in jobs])

    def _parcel(
        self,
        held: Held,
        output: bytes | None,
        error: dict[str, object] | None,
        stacks: str = "",
    ) -> _Parcel:
        station = self._station
        # A suspect that is canceled as it starts is told so before it is at work.
        begun = held.job.started or held.phase in AT_WORK
        if station.spans is not None:
            held.ended_ns = time.time_ns()
        outcome, code = outcome_of(held, output, error, station.rules, station.limits, stacks)
        holding = self._station.holding
        holding.move(held, Phase.SETTLING)
        holding.grow(held, len(outcome.payload))
        if outcome.kind == "succeeded":
            self._station.timing.stored(len(outcome.payload))
        return _Parcel(held, outcome, code, begun)

    async def _deliver(self, parcels: list[_Parcel]) -> None:
        verdicts = await self._station.queue.settle([each.outcome for each in parcels])
        now_ms = time.time() * 1000
        spans = self._station.spans
        for held, outcome, code, begun in parcels:
            self._station.holding.forget(held)
            verdict = verdicts.get(held.id, "stale")
            told = {} if spans is None else spans.settled(held, outcome, code, verdict)
            # A retry whose answer was lost is not an end, although it was made already.
            if verdict == "retry" or (verdict == "already" and outcome.kind == "retry"):
                self._station.metrics.requeues.labels("retry").inc()
            elif verdict in ("ok", "already"):
                self._count(outcome.kind, code)
                self._observe_end(held, now_ms)
            elif verdict == "canceled" and begun:
                self._count("canceled", "canceled")
                self._observe_end(held, now_ms)
            # What had not begun was ended by the cancel itself, which has counted it.
            elif verdict == "stale":
                self._station.metrics.stale_writes_refused.inc()
            if verdict != "ok" or outcome.kind != "succeeded":
                log.info(
                    "job_settled",
                    job_id=held.id,
                    kind=outcome.kind,
                    code=code,
                    verdict=verdict,
                    attempt=held.job.attempt,
                    **told,
                )
        self._station.changed.set()

    def _observe_end(self, held: Held, now_ms: float) -> None:
        where = None if self._station.spans is None else exemplar(held.job.traceparent)
        self._end_to_end.observe(max(now_ms - held.job.created_at, 0) / 1000, where)

    def _count(self, status: str, code: str) -> None:
        self._finished(self._station.model, self._station.version, status, code).inc()
