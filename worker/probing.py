"""Proof that the engine can still run a kernel, and the readiness that follows from it."""

import asyncio
from dataclasses import dataclass

from telemetry import logs
from worker import ladder
from worker.engine_handle import EngineState
from worker.holding import Phase
from worker.station import Station
from worker.wire import Probe

#: an idle engine is probed this long after its last kernel, in seconds
PROBE_EVERY_S = 5.0
#: the answer takes no longer, in seconds
PROBE_LIMIT_S = 5.0
#: an idle engine that has not answered for so long is killed, in seconds
HUNG_S = 30.0
LOOK_EVERY_S = 1.0

log = logs.get("worker.probing")


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether this worker can run a job now; if not, why."""

    state: str
    reason: str = ""

    @property
    def ready(self) -> bool:
        """Whether it can."""
        return self.state == "ready"


class Prober:
    """Sends small kernels through an idle engine."""

    def __init__(self, station: Station) -> None:
        self._station = station
        self._number = 0
        self._asked_at: float | None = None
        self._life = 0

    async def run(self) -> None:
        """Probe until canceled."""
        while True:
            await asyncio.sleep(LOOK_EVERY_S)
            self.look()

    def look(self) -> None:
        """Probe if no kernel has run for a while; kill an engine that stays silent."""
        station = self._station
        now = station.clock()
        busy = station.holding.on_gpu is not None or station.holding.counts[Phase.ON_GPU]
        if not station.engine.ready or busy or self._life != station.engine.life:
            self._asked_at, self._life = None, station.engine.life
            return
        if self._asked_at is not None:
            if station.probe_answered == self._number or station.kernel_ran_at > self._asked_at:
                self._asked_at = None
            elif now - self._asked_at > HUNG_S:
                log.error("engine_hung", silent_s=round(now - self._asked_at, 1))
                station.engine.kill("hung")
        elif now - station.kernel_ran_at >= PROBE_EVERY_S:
            self._number += 1
            self._asked_at = now
            station.engine.send(Probe(self._number))


def readiness(station: Station) -> Readiness:
    """What health, beats and the card's state say of this worker."""
    engine = station.engine
    if station.quiet:
        return Readiness("draining", "the worker is stopping")
    if engine.state is not EngineState.READY:
        return Readiness(str(engine.state), engine.reason)
    if engine.dying:
        return Readiness("unready", "the engine is being killed")
    return _proof(station)


def _proof(station: Station) -> Readiness:
    """Whether a kernel has just run: a batch inside its limit, or a probe."""
    now = station.clock()
    limits = [
        (held.since, ladder.limit_s(held.job.timeout_s, batch.expected_s))
        for batch in station.holding.batches.values()
        for held in station.holding.of(batch.feeds, Phase.ON_GPU)
    ]
    if limits:
        since, limit_s = max(limits, key=sum)
        if now - since <= limit_s:
            return Readiness("ready")
        return Readiness("unready", f"a batch is over its limit of {limit_s:g} s")
    if silent(station):
        silent_s = now - station.kernel_ran_at
        return Readiness("unready", f"no kernel has run for {silent_s:.0f} s")
    return Readiness("ready")


def silent(station: Station) -> bool:
    """Whether no job of this worker runs, and probes are not answered either."""
    if station.holding.counts[Phase.ON_GPU]:
        return False
    silent_s = station.clock() - station.kernel_ran_at
    return silent_s > PROBE_EVERY_S + PROBE_LIMIT_S + LOOK_EVERY_S
