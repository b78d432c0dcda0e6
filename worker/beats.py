"""The worker's beats: that it lives, what it holds, and what Redis knows better."""

import asyncio
import contextlib
import os
import platform
from collections.abc import Awaitable, Callable

from jobs.worker_queue import BeatAnswer, HandBack
from telemetry import logs
from worker.backoff import TRANSIENT, Backoff
from worker.cancels import Cancels
from worker.holding import AT_WORK, LEAVING
from worker.probing import readiness
from worker.station import Station
from worker.wire import Cancel, Drop

#: beats within one limit
BEATS_PER_LIMIT = 5

#: checks once that this Redis can keep the promise; what it returns could not be checked
Verify = Callable[[], Awaitable[list[str]]]

#: two burials within this time, although the beats went through, are another worker's doing
TWIN_S = 60.0

log = logs.get("worker.beats")


class NameTaken(Exception):
    """Two workers use one name and bury each other."""


class Beats:
    """Registers this life, beats for it, and begins another when it was buried."""

    def __init__(self, station: Station, cancels: Cancels, verify: Verify) -> None:
        self._station = station
        self._cancels = cancels
        self._verify: Verify | None = verify
        #: when the last beat was sent that found this life alive
        self._beat_at = float("-inf")
        self._buried_at = float("-inf")

    async def run(self) -> None:
        """Register, then beat, until the worker has left or is canceled."""
        station = self._station
        every_s = station.rules.beat_limit_s / BEATS_PER_LIMIT
        backoff = Backoff(0.1, every_s)
        while not station.left:
            station.state_changed.clear()
            try:
                if not station.registered:
                    await self._register()
                await self._beat()
                backoff.reset()
                pause_s = every_s
            except TRANSIENT as error:
                log.warning("beat_failed", why=error.detail)
                pause_s = backoff.next_s()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await station.state_changed.wait()

    async def _register(self) -> None:
        station = self._station
        if self._verify is not None:
            for warning in await self._verify():
                log.warning("redis_not_verified", why=warning)
            self._verify = None
        info = {"host": platform.node(), "pid": str(os.getpid()), "state": "loading"}
        if station.rules.pinned_only:
            info["pinned_only"] = "1"
        adopted = await station.queue.register(info)
        for each in adopted:
            station.count_adopted(each)
        station.registered = True
        log.info("worker_registered", life=station.queue.life, adopted=len(adopted))
        station.changed.set()

    async def _beat(self) -> None:
        station = self._station
        ready = readiness(station)
        # Not when it is answered: an answer may be read long after, by a worker that slept.
        sent_at = station.clock()
        answer = await station.queue.beat(
            list(station.holding.jobs), state=ready.state, reason=ready.reason, stats=self._stats()
        )
        if answer.buried and not station.left:
            self._buried()
            await self._register()
        elif not answer.buried:
            if answer.failure is None:
                self._beat_at = sent_at
            await self._reconcile(answer)
            if answer.failure is not None:
                raise answer.failure

    def _stats(self) -> dict[str, str]:
        station = self._station
        busy = station.busy.ratio(station.clock())
        station.metrics.gpu_busy_ratio.labels(station.model).set(busy)
        stats = {"device": station.device, "busy_ratio": f"{busy:.3f}"}
        if station.timing.seconds_per_job is not None:
            stats["seconds_per_job"] = f"{station.timing.seconds_per_job:.6g}"
        if station.timing.result_bytes is not None:
            stats["result_bytes"] = f"{station.timing.result_bytes:.0f}"
        return stats

    async def _reconcile(self, answer: BeatAnswer) -> None:
        station = self._station
        self._cancels.asked(answer.canceling)
        self._cancels.lost(answer.lost)
        # A claim whose answer was lost: nobody here has the input.
        unknown = [
            HandBack(each, token, reason="lost_answer")
            for each, token in answer.owned_not_held
            if each not in station.holding.jobs
        ]
        if unknown:
            log.warning("claims_lost_their_answer", job_ids=[each.id for each in unknown])
            for verdict in (await station.queue.hand_back(unknown)).values():
                if verdict == "ok":
                    station.metrics.requeues.labels("lost_answer").inc()
                elif verdict != "stale":
                    station.count_finished(station.model, station.version, verdict)

    def _buried(self) -> None:
        """Others have taken all that this life held; what still runs ends unrecorded."""
        station = self._station
        log.error("worker_was_buried", life=station.queue.life, held=len(station.holding.jobs))
        self._refuse_twin()
        station.registered = False
        holding = station.holding
        gone = [held for held in holding.jobs.values() if held.phase not in LEAVING]
        station.engine.send(Drop([held.feed for held in gone if held.phase not in AT_WORK]))
        station.engine.send(Cancel([held.feed for held in gone if held.phase in AT_WORK]))
        for held in gone:
            holding.forget(held)
        station.changed.set()

    def _refuse_twin(self) -> None:
        """Nobody buries a worker whose beats go through, but one that registers its name."""
        now = self._station.clock()
        if now - self._beat_at < self._station.rules.beat_limit_s:
            if now - self._buried_at < TWIN_S:
                raise NameTaken(
                    f"Another worker uses the name {self._station.name}: each buries the other. "
                    "Give each its own HEADRACE_WORKER_NAME."
                )
            self._buried_at = now
