"""The heart of the worker: claim -> feed -> start -> settle.

Claims and feeds happen here, in `step`. A start is asked for by the engine when it has formed a
batch (worker/starting.py), and what it answers is settled as it comes (worker/settling.py), so
none of the four waits for another.
"""

import asyncio
import time
from dataclasses import replace

from jobs.worker_queue import Claimed
from telemetry import logs
from telemetry.traces import exemplar, trace_fields
from worker.backoff import TRANSIENT, Backoff
from worker.cancels import Cancels
from worker.holding import AT_WORK, UNSTARTED, Held, Phase
from worker.probing import silent
from worker.returning import Returner
from worker.station import Station
from worker.timing import rest_s
from worker.window import Plan, View, plan
from worker.wire import EngineJob, Jobs

#: an empty queue is looked at again although no bell rang, in seconds
LOOK_AGAIN_S = 1.0

log = logs.get("worker.feeder")


class Feeder:
    """Keeps the engine in work, and no more than that."""

    def __init__(self, station: Station, cancels: Cancels, returner: Returner) -> None:
        self._station = station
        self._cancels = cancels
        self._returner = returner
        self._queue_seconds = station.metrics.queue_seconds.labels(station.model)
        self._backoff = Backoff(0.05, 2.0)
        #: a bell rang since the last claim
        self._rung = True
        #: the last claim left nothing behind
        self._dry = False
        self._last_found = 0
        self._told_more = False
        #: the job that was fed to an empty engine, until another follows it
        self._lone: Held | None = None

    async def run(self) -> None:
        """Step until canceled."""
        while True:
            await self.step()

    async def step(self) -> None:
        """Claim what there is room for, and feed it."""
        wanted = await self._room()
        claimed = await self._claim(wanted)
        await self._feed(claimed)

    async def listen(self) -> None:
        """Hear the bells until canceled."""
        async for bell in self._station.queue.listen():
            if bell.kind == "cancel":
                self._cancels.asked([bell.job])
            else:
                self._rung = True
                self._station.changed.set()
                # The claim leaves before the next read of the bells: a client waits for it.
                await asyncio.sleep(0)

    async def _room(self) -> Plan:
        """Wait until there is both room and reason for a claim."""
        changed = self._station.changed
        while True:
            changed.clear()
            await self._feed_suspect()
            wanted = self._plan()
            if wanted.count and (self._rung or not self._dry):
                return wanted
            pause_s = LOOK_AGAIN_S if wanted.wake_s is None else min(wanted.wake_s, LOOK_AGAIN_S)
            # Cheaper than asyncio.timeout: this happens for each job of a quiet queue.
            waker = asyncio.get_running_loop().call_later(pause_s, self._look_again)
            try:
                await changed.wait()
            finally:
                waker.cancel()

    def _look_again(self) -> None:
        self._rung = True
        self._station.changed.set()

    def _plan(self) -> Plan:
        station = self._station
        if station.quiet or not station.registered or not station.engine.ready:
            return Plan(0)
        if silent(station):
            # What it cannot run now, another worker may.
            return Plan(0)
        holding, limits, timing = station.holding, station.limits, station.timing
        running = holding.on_gpu
        rest = None
        if running is not None and running.began_at is not None:
            rest = rest_s(running.expected_s, station.clock() - running.began_at)
        return plan(
            View(
                max_batch=limits.max_batch,
                by_cost=limits.by_cost,
                unstarted=holding.count(*UNSTARTED),
                started=holding.count(*AT_WORK) + (running is not None),
                unsettled=holding.count(Phase.SETTLING),
                held_bytes=holding.bytes,
                last_found=self._last_found,
                suspects=holding.counts[Phase.ASIDE] + self._suspect_open(),
                careful=station.careful,
                seconds_per_job=timing.seconds_per_job,
                batch_s=timing.expected_s(limits.max_batch),
                running_rest_s=rest,
            )
        )

    async def _claim(self, wanted: Plan) -> list[Claimed]:
        queue, holding = self._station.queue, self._station.holding
        idle = not holding.count(*UNSTARTED, *AT_WORK)
        self._rung = False
        expired_before = queue.expired
        try:
            # Where nothing waits in the lanes, an idle worker takes from those that hold more.
            claimed = await queue.claim(wanted.count, start=wanted.start, steal=idle)
        except TRANSIENT as error:
            if self._backoff.failures == 0:
                log.warning("claim_failed", why=error.detail)
            self._rung = True
            await asyncio.sleep(self._backoff.next_s())
            return []
        self._backoff.reset()
        expired = queue.expired - expired_before
        self._station.count_expired(expired)
        self._last_found = len(claimed)
        self._dry = len(claimed) < wanted.count and not expired and not queue.cut
        return claimed

    async def _feed(self, claimed: list[Claimed]) -> None:
        station = self._station
        now = station.clock()
        taken = [station.holding.add(job, _first_phase(job), now) for job in claimed]
        held = [each for each in taken if each.phase is not Phase.ASIDE]
        suspected = len(held) < len(taken)
        self._observe_wait(taken)
        if station.quiet or not station.engine.ready:
            # The engine died, or the worker was told to stop, while the claim was on its way.
            self._returner.uncharged(station.holding.in_phase(Phase.ASIDE), "engine_gone")
            self._returner.uncharged(held, "engine_gone")
            return
        more = bool(claimed) and not self._dry and not suspected
        if held:
            self._send(held, more=more)
        elif self._told_more and not more:
            station.engine.send(Jobs([], more=False))
        self._told_more = more
        await self._feed_suspect()

    def _observe_wait(self, taken: list[Held]) -> None:
        now_ms, spans = time.time() * 1000, self._station.spans
        started = [each for each in taken if each.job.started]
        for held in started:
            where = None if spans is None else exemplar(held.job.traceparent)
            self._queue_seconds.observe(max(now_ms - held.job.created_at, 0) / 1000, where)
        if spans is not None:
            spans.started(started)

    async def _feed_suspect(self) -> None:
        """Feed a job that once saw an engine die, when nothing else could be harmed or blamed.

        It is started first, by itself: also a death while it is prepared is then its own.
        """
        station = self._station
        if not station.holding.counts[Phase.ASIDE] or not self._engine_empty():
            return
        if self._suspect_open():
            return
        if station.quiet or not station.engine.ready:
            return
        held = min(station.holding.in_phase(Phase.ASIDE), key=lambda each: each.since)
        if not held.job.started and not await self._start_suspect(held):
            return
        station.holding.move(held, Phase.STARTED)
        held.since = station.clock()
        self._send([held], more=False)

    async def _start_suspect(self, held: Held) -> bool:
        station = self._station
        life = station.engine.life
        station.holding.move(held, Phase.STARTING)
        try:
            verdict = (await station.queue.start([held.job]))[held.id]
        except TRANSIENT as error:
            log.warning("start_delayed", count=1, why=error.detail)
            if held.phase is Phase.STARTING:
                station.holding.move(held, Phase.ASIDE)
            await asyncio.sleep(self._backoff.next_s())
            return False
        self._backoff.reset()
        station.count_expired(int(verdict == "expired"))
        if held.phase is not Phase.STARTING:
            return False
        if verdict != "ok":
            fields = trace_fields(held.job.traceparent)
            log.info("job_not_started", job_id=held.id, verdict=verdict, **fields)
            station.holding.forget(held)
            return False
        if station.spans is not None:
            station.spans.started([held], 1)
        held.job = replace(held.job, started=True)
        if held.canceled:
            self._cancels.ended_before_the_gpu(held)
            return False
        if station.quiet or not station.engine.ready or station.engine.life != life:
            self._returner.uncharged([held], "engine_gone")
            return False
        return True

    def _engine_empty(self) -> bool:
        holding = self._station.holding
        at_engine = holding.count(Phase.FED, Phase.STARTING, *AT_WORK)
        return not at_engine and holding.on_gpu is None

    def _suspect_open(self) -> bool:
        """Whether a suspect is at the engine, or Redis has not heard yet what became of it.

        Until then it ran alone for the world: were another begun meanwhile, on whichever shard, and
        this worker lost, it would be convicted of a death that is not its own.
        """
        lone = self._lone
        return (
            lone is not None
            and lone.job.crashes > 0
            and self._station.holding.jobs.get(lone.id) is lone
        )

    def _send(self, held: list[Held], *, more: bool) -> None:
        station = self._station
        others = station.holding.count(Phase.FED, Phase.STARTING, *AT_WORK) > len(held)
        if self._lone is not None:
            self._lone.alone, self._lone = False, None
        if len(held) == 1 and not others and station.holding.on_gpu is None:
            held[0].alone, self._lone = True, held[0]
        station.engine.send(Jobs([_engine_job(each) for each in held], more=more))


def _first_phase(job: Claimed) -> Phase:
    if job.crashes:
        return Phase.ASIDE
    return Phase.STARTED if job.started else Phase.FED


def _engine_job(held: Held) -> EngineJob:
    job = held.job
    return EngineJob(
        id=job.id,
        feed=held.feed,
        input=job.input,
        priority=job.priority,
        lane=job.tenant,
        alone=job.crashes > 0,
        started=job.started,
        timeout_s=job.timeout_s,
        created_at=job.created_at,
    )
