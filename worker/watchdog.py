"""Watches over what the engine does: time limits, cancels, an engine that says nothing."""

import asyncio
from collections.abc import Iterator

from telemetry import logs
from worker import ladder
from worker.holding import AT_WORK, LEAVING, Held, Phase
from worker.station import Station
from worker.timing import rest_s
from worker.wire import Cancel

TICK_S = 0.1
#: seconds without a word on any job, with jobs at the engine and none running
LEAST_STALL_S = 60.0
#: seconds a kill costs where no load has been measured
UNKNOWN_RELOAD_S = 1.0

log = logs.get("worker.watchdog")


class Watchdog:
    """Climbs the ladder for each job that is over its limit or canceled."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._budget = ladder.KillBudget()
        #: kills for a capped tenant that were put off, so that the log says it once
        self._spared: set[str] = set()

    async def run(self) -> None:
        """Look until canceled."""
        while True:
            await asyncio.sleep(TICK_S)
            self.look()

    def look(self) -> None:
        """One look at the time of everything."""
        station = self._station
        if not station.engine.ready:
            return
        now = station.clock()
        culprits: list[Held] = []
        for held, expected_s in self._at_work():
            since = self._since(held)
            elapsed_s = now - since
            if held.flagged_at is None:
                self._check_limit(held, elapsed_s, expected_s, now)
            if held.flagged_at is not None and self._must_go(held, elapsed_s, expected_s, now):
                culprits.append(held)
        if culprits:
            self._kill(culprits, now)
        elif self._abandoned(now):
            station.engine.kill("buried")
        elif self._stalled(now):
            station.engine.kill("stalled")

    def _at_work(self) -> Iterator[tuple[Held, float | None]]:
        """Jobs whose time runs, with what their batch is expected to take."""
        holding = self._station.holding
        if holding.on_gpu is None and not holding.counts[Phase.ON_GPU]:
            # Nothing runs, so jobs that may are being prepared: that time is theirs too.
            for held in holding.in_phase(Phase.STARTED) if holding.counts[Phase.STARTED] else ():
                yield held, None
            return
        for batch in holding.batches.values():
            if batch.began_at is not None:
                for held in holding.of(batch.feeds, Phase.ON_GPU):
                    yield held, batch.expected_s

    def _since(self, held: Held) -> float:
        # A started job waits for the batch before it; that time is not its own.
        if held.phase is Phase.ON_GPU:
            return held.since
        return max(held.since, self._station.heard_at)

    def _check_limit(
        self, held: Held, elapsed_s: float, expected_s: float | None, now: float
    ) -> None:
        limit_s = ladder.limit_s(held.job.timeout_s, expected_s)
        if elapsed_s > limit_s:
            held.timed_out, held.flagged_at = True, now
            log.warning("job_over_its_limit", job_id=held.id, limit_s=limit_s)
            self._station.engine.send(Cancel([held.feed]))

    def _must_go(self, held: Held, elapsed_s: float, expected_s: float | None, now: float) -> bool:
        station = self._station
        flagged_at = max(held.flagged_at or now, self._since(held))
        capped = self._budget.spent(held.job.tenant, now)
        if capped and held.id not in self._spared:
            self._spared.add(held.id)
            log.warning("kill_put_off", job_id=held.id, tenant=held.job.tenant)
        return ladder.must_kill(
            ladder.Standing(
                flagged_for_s=now - flagged_at,
                elapsed_s=elapsed_s,
                grace_s=station.rules.cancel_grace_s,
                rest_s=rest_s(expected_s, elapsed_s),
                reload_s=station.timing.load_s or UNKNOWN_RELOAD_S,
                capped=capped,
                model_limit_s=station.limits.timeout_s,
            )
        )

    def _kill(self, culprits: list[Held], now: float) -> None:
        for tenant in {held.job.tenant for held in culprits}:
            self._budget.spend(tenant, now)
        self._spared.clear()
        reason = "timeout" if any(held.timed_out for held in culprits) else "cancel"
        log.warning("batch_killed", reason=reason, job_ids=[held.id for held in culprits])
        self._station.engine.kill(reason)

    def _abandoned(self, now: float) -> bool:
        """Others have what is on the GPU, and waiting for its end costs more than a load."""
        station = self._station
        batch = station.holding.on_gpu
        if batch is None or batch.began_at is None:
            return False
        if any(station.holding.of(batch.feeds, *AT_WORK, *LEAVING)):
            return False
        left_s = rest_s(batch.expected_s, now - batch.began_at)
        return left_s >= (station.timing.load_s or UNKNOWN_RELOAD_S)

    def _stalled(self, now: float) -> bool:
        """Jobs are at the engine, none runs, none waits for Redis, and it says nothing of any."""
        station = self._station
        counts = station.holding.counts
        busy = counts[Phase.STARTING] or station.holding.count(*AT_WORK)
        if busy or not counts[Phase.FED] or station.holding.on_gpu is not None:
            return False
        oldest = min(held.since for held in station.holding.in_phase(Phase.FED))
        limit_s = max(LEAST_STALL_S, station.limits.timeout_s)
        return now - max(station.heard_at, oldest) > limit_s
