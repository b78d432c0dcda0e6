"""What a cancel does to a job in the worker's hands."""

from collections.abc import Iterable

from telemetry import logs
from worker.holding import AT_WORK, LEAVING, Held, Phase
from worker.settling import Settler
from worker.station import Station
from worker.wire import Cancel, Drop

log = logs.get("worker.cancels")


class Cancels:
    """Drops what has not begun, and tells the engine of what has."""

    def __init__(self, station: Station, settler: Settler) -> None:
        self._station = station
        self._settler = settler

    def asked(self, ids: Iterable[str]) -> None:
        """A cancel, or an expiry, concerns these jobs; most may be other workers'."""
        station = self._station
        drop: list[Held] = []
        tell: list[Held] = []
        for each in ids:
            held = station.holding.jobs.get(each)
            if held is None:
                continue
            if held.phase in (Phase.ASIDE, Phase.FED) and not held.job.started:
                # Final in Redis already: a claimed job is still queued for the world.
                station.holding.forget(held)
                drop.append(held)
            elif held.phase is Phase.ASIDE:
                self.ended_before_the_gpu(held)
            elif not held.canceled and held.phase in (Phase.STARTING, *AT_WORK):
                held.canceled = True
                held.flagged_at = held.flagged_at or station.clock()
                tell.append(held)
        if drop:
            station.engine.send(Drop([held.feed for held in drop]))
            station.changed.set()
        if tell:
            log.info("cancel_passed_on", job_ids=[held.id for held in tell])
            station.engine.send(Cancel([held.feed for held in tell]))

    def ended_before_the_gpu(self, held: Held) -> None:
        """A job that was started, canceled, and never allowed onto the GPU is done with."""
        held.canceled = True
        self._settler.gave_up([held])

    def lost(self, ids: Iterable[str]) -> None:
        """These are another worker's now; what still runs of them ends unrecorded."""
        station = self._station
        held_now = [station.holding.jobs.get(each) for each in ids]
        gone = [held for held in held_now if held is not None and held.phase not in LEAVING]
        if gone:
            log.warning("jobs_lost", job_ids=[held.id for held in gone])
            station.engine.send(Drop([held.feed for held in gone if held.phase not in AT_WORK]))
            station.engine.send(Cancel([held.feed for held in gone if held.phase in AT_WORK]))
            for held in gone:
                station.holding.forget(held)
            station.changed.set()
