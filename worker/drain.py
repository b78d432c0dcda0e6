"""The orderly end of a worker: quiet, then empty, then gone."""

import asyncio
import contextlib

from telemetry import logs
from worker.backoff import TRANSIENT, Backoff
from worker.holding import AT_WORK, Phase
from worker.returning import Returner
from worker.settling import Settler
from worker.station import Station
from worker.wire import Drop

#: seconds between two looks at what still runs
LOOK_EVERY_S = 0.02
#: seconds an engine without work has to exit
PARTING_S = 5.0
#: seconds that a Redis which is away is waited for with results in hand, at the least
LEAST_SETTLE_S = 5.0

log = logs.get("worker.drain")


class Drain:
    """Gives back what has not begun, lets end what may, and leaves."""

    def __init__(self, station: Station, settler: Settler, returner: Returner) -> None:
        self._station = station
        self._settler = settler
        self._returner = returner
        #: told a second time to stop: nothing is waited for but the storing of results
        self.hurried = False

    async def run(self) -> bool:
        """Drain; False if something could not be given back or stored."""
        station = self._station
        # Claims end first. Beats, settles and hand-backs go on to the last, so that nobody takes
        # this worker for dead while it still stores results.
        station.quiet = True
        station.changed.set()
        station.state_changed.set()
        until = station.clock() + station.rules.drain_s
        log.info("draining", held=len(station.holding.jobs), drain_s=station.rules.drain_s)
        self._give_back_unstarted()
        if not await self._ended_in_time(until):
            station.engine.kill("drain")
        # In this order, so that no other engine is loaded after the one that was killed.
        await station.engine.stop(self._parting_s())
        await self._accounted_for()
        self._returner.uncharged(list(station.holding.jobs.values()), "drain")
        return await self._store(until) and await self._leave(until)

    def _parting_s(self) -> float:
        # An engine that is being loaded has nothing to finish, and may not listen.
        return 0.0 if self.hurried or not self._station.engine.ready else PARTING_S

    def _give_back_unstarted(self) -> None:
        station = self._station
        unstarted = station.holding.in_phase(Phase.ASIDE, Phase.FED)
        station.engine.send(Drop([held.feed for held in unstarted]))
        self._returner.uncharged(unstarted, "drain")

    async def _ended_in_time(self, until: float) -> bool:
        """Wait for what runs; False as soon as it is known not to end before the drain must."""
        station = self._station
        while station.holding.count(Phase.STARTING, *AT_WORK):
            self._give_back_unstarted_late()
            left_s, rest_s = until - station.clock(), self._rest_s()
            if self.hurried or left_s <= 0 or rest_s > left_s:
                log.info("batch_cut_short", rest_s=round(rest_s, 3), left_s=round(left_s, 3))
                return False
            await asyncio.sleep(LOOK_EVERY_S)
        return True

    async def _accounted_for(self) -> None:
        """Wait until all that the dead engine has said is heard, and what it ran is judged."""
        station = self._station
        while station.holding.count(Phase.STARTING, *AT_WORK):
            station.changed.clear()
            await station.changed.wait()

    def _give_back_unstarted_late(self) -> None:
        """A claim may have been on its way when the worker went quiet."""
        if self._station.holding.count(Phase.ASIDE, Phase.FED):
            self._give_back_unstarted()

    def _rest_s(self) -> float:
        """How much longer the batch is known to take; 0 when it may end at any moment.

        One that is overdue, or about which nothing is known, has all the time of the drain: what
        an early end would save is less than the work that it would lose.
        """
        batch = self._station.holding.on_gpu
        if batch is None or batch.began_at is None or batch.expected_s is None:
            return 0.0
        return max(batch.expected_s - (self._station.clock() - batch.began_at), 0.0)

    async def _store(self, until: float) -> bool:
        try:
            async with asyncio.timeout(self._patience_s(until)):
                await self._settler.delivery.emptied()
                await self._returner.delivery.emptied()
        except TimeoutError:
            # Others adopt the jobs once this worker's beats have stopped, and run them again.
            log.error("results_not_stored", count=len(self._station.holding.jobs))  # noqa: TRY400
            return False
        return True

    async def _leave(self, until: float) -> bool:
        station = self._station
        station.left = True
        backoff = Backoff(0.05, 1.0)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._patience_s(until)):
                while True:
                    try:
                        canceled = await station.queue.leave()
                    except TRANSIENT as error:
                        if not station.registered:
                            # It was never there, or was buried: nothing is left behind.
                            return True
                        if backoff.failures == 0:
                            log.warning("leave_delayed", why=error.detail)
                        await asyncio.sleep(backoff.next_s())
                    else:
                        if canceled:
                            station.count_finished(
                                station.model, station.version, "canceled", canceled
                            )
                        log.info("worker_left")
                        return True
        return False

    def _patience_s(self, until: float) -> float:
        return max(until - self._station.clock(), LEAST_SETTLE_S)
