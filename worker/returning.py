"""Jobs that this worker gives up, so that it or another may run them later."""

from collections.abc import Iterable

from jobs.worker_queue import HandBack
from telemetry import logs
from telemetry.traces import trace_fields
from worker.delivery import Delivery
from worker.holding import LEAVING, Held, Phase
from worker.station import Station

log = logs.get("worker.returning")


class Returner:
    """Hands jobs back and sees to it that Redis takes them."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self.delivery: Delivery[tuple[Held, HandBack, str]] = Delivery(
            "hand_back",
            self._deliver,
            size=lambda each: len(each[1].detail),
            # What names the shard in an id: reading its number costs more than the rest.
            lane=lambda each: each[0].id[4:7],
        )

    def uncharged(self, jobs: Iterable[Held], reason: str) -> None:
        """Hand back jobs that are blamed for nothing."""
        self.post(
            [
                (held, HandBack(held.id, held.job.token, reason=reason))
                for held in jobs
                if held.phase not in LEAVING and held.phase is not Phase.GONE
            ],
            reason,
        )

    def post(self, back: list[tuple[Held, HandBack]], reason: str) -> None:
        """Hand jobs back as it was judged."""
        holding = self._station.holding
        for held, _ in back:
            holding.move(held, Phase.RETURNING)
        if back:
            charged = [held.id for held, given in back if given.charge]
            log.info("jobs_handed_back", reason=reason, count=len(back), charged=charged)
        self.delivery.post([(held, given, reason) for held, given in back])

    async def _deliver(self, parcels: list[tuple[Held, HandBack, str]]) -> None:
        station = self._station
        verdicts = await station.queue.hand_back([given for _, given, _ in parcels])
        for held, given, reason in parcels:
            station.holding.forget(held)
            verdict = verdicts.get(held.id, "stale")
            if verdict == "ok":
                station.metrics.requeues.labels(reason).inc()
            elif verdict == "stale":
                station.metrics.stale_writes_refused.inc()
            else:
                self._ended(held, given, verdict)
        station.changed.set()

    def _ended(self, held: Held, given: HandBack, verdict: str) -> None:
        """The hand-back ended the job: it was being canceled, or it is poison."""
        self._station.count_finished(self._station.model, self._station.version, verdict)
        log.warning(
            "job_ended_by_hand_back",
            job_id=held.id,
            verdict=verdict,
            alone=given.alone,
            **trace_fields(held.job.traceparent),
        )
