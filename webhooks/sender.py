"""The sender: hears of events, and tells receivers, hundreds at a time."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterable

from jobs.outbox import Outbox
from jobs.shards import SHARDS
from jobs.webhook import Told, Verdict
from telemetry import logs
from telemetry.traces import trace_fields
from webhooks.breaker import Breaker
from webhooks.hand import Hand, Held
from webhooks.outcome import told
from webhooks.results import TRANSIENT, Results
from webhooks.schedule import Schedule
from webhooks.trying import Trier
from webhooks.visits import Visits

#: How often every shard in use is looked at although nothing was heard, and how often all are.
LOOK_S, EVERYWHERE_S = 1.0, 30.0
_SHARDS_S = 5.0
#: RQ and its cron make retries due. Where neither does, they are late by this, and not lost.
RETRY_GRACE_S = 60.0
_MOST_RELEASED = 1000
#: Of a lease, what must be left beyond a try's own time before it begins.
MARGIN_S = 5.0
_PAUSE_S = 1.0

log = logs.get("webhooks.sender")


class Sender:
    """Runs until told to stop; then lets tries end and gives back the rest."""

    def __init__(
        self,
        outbox: Outbox,
        trier: Trier,
        results: Results,
        schedule: Schedule,
        *,
        breaker: Breaker | None = None,
        hand: Hand | None = None,
    ) -> None:
        self._outbox = outbox
        self._trier = trier
        self._results = results
        self._schedule = schedule
        self._breaker = Breaker() if breaker is None else breaker
        self._hand = Hand(self._breaker) if hand is None else hand
        self._visits = Visits(outbox, self._hand, self._breaker, results)
        self._shards: list[int] = []
        self._wakes: dict[int, asyncio.Event] = {}
        self._tries: set[asyncio.Task[None]] = set()
        self._stopping = False
        #: When Redis last answered, on the monotonic clock.
        self.heard_at = float("-inf")
        #: Events and deliveries that wait on the shards in use.
        self.pending = 0

    @property
    def stopping(self) -> bool:
        """Whether it has been told to stop."""
        return self._stopping

    async def run(self, stop: asyncio.Event, drain_s: float) -> None:
        """Send until `stop` is set, then end in order within about `drain_s`."""
        try:
            async with asyncio.TaskGroup() as group:
                loops = [
                    group.create_task(self._listen()),
                    group.create_task(self._follow_shards(group)),
                    group.create_task(self._look_everywhere(group)),
                ]
                await stop.wait()
                self._stopping = True
                for task in loops:
                    task.cancel()
                self._wake(self._wakes)
                self._visits.give_back(self._hand.give_up_all())
            # Looks that were under way have ended, and what they brought in is given back.
            await self._drain(drain_s)
        finally:
            self._stopping = True
            for each in self._tries:
                each.cancel()
            await asyncio.gather(*self._tries, return_exceptions=True)

    async def _drain(self, drain_s: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(drain_s):
                while self._tries:
                    await asyncio.wait(self._tries)
                await self._results.flush()
                return
        log.warning("sender_left_undone", under_way=len(self._tries))

    async def _listen(self) -> None:
        while True:
            try:
                async for shard in self._outbox.listen(self._shards):
                    self._wake([shard])
            except TRANSIENT as error:
                log.warning("listening_broke", error=error.detail)
            await asyncio.sleep(_PAUSE_S)

    async def _follow_shards(self, group: asyncio.TaskGroup) -> None:
        """Attend to each shard that a model has come to live on."""
        while True:
            try:
                for shard in await self._outbox.shards():
                    self._attend_to(shard, group)
                self.pending = sum([await self._outbox.pending(shard) for shard in self._shards])
                self._heard()
            except TRANSIENT as error:
                log.warning("redis_away", error=error.detail)
                await asyncio.sleep(_PAUSE_S)
                continue
            await asyncio.sleep(_SHARDS_S)

    def _attend_to(self, shard: int, group: asyncio.TaskGroup) -> None:
        if shard not in self._wakes:
            self._wakes[shard] = asyncio.Event()
            # In place: the subscription looks at this very list.
            self._shards.append(shard)
            group.create_task(self._attend(shard))

    async def _look_everywhere(self, group: asyncio.TaskGroup) -> None:
        """Look at all shards: a model may be gone whose events are not told yet."""
        while True:
            for shard in range(SHARDS):
                with contextlib.suppress(*TRANSIENT):
                    if await self._outbox.overdue(shard, RETRY_GRACE_S):
                        released = 0
                        while (some := await self._outbox.release(shard, _MOST_RELEASED)) > 0:
                            released += some
                            if some < _MOST_RELEASED:
                                break
                        log.warning("retries_were_overdue", shard=shard, released=released)
                    if shard not in self._wakes and await self._outbox.pending(shard):
                        self._attend_to(shard, group)
            await asyncio.sleep(EVERYWHERE_S)

    async def _attend(self, shard: int) -> None:
        wake = self._wakes[shard]
        while not self._stopping:
            wake.clear()
            next_in_s = await self._look(shard)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(next_in_s):
                    await wake.wait()

    async def _look(self, shard: int) -> float:
        """Look at a shard, and begin what can begin; return how long to wait for the next look."""
        try:
            next_in_s = await self._visits.look(shard)
            self._heard()
        except TRANSIENT:
            return LOOK_S
        except Exception:  # the top of the loop of one shard: it must not end that of the others
            log.exception("look_failed", shard=shard)
            return LOOK_S
        finally:
            if self._stopping:
                # What a look brought in that was under way when the signal came.
                self._visits.give_back(self._hand.give_up_all())
            self._go_on()
        return min(LOOK_S, LOOK_S if next_in_s is None else next_in_s)

    def _go_on(self) -> None:
        while not self._stopping and (held := self._hand.next()) is not None:
            task = asyncio.create_task(self._try(held))
            self._tries.add(task)
            task.add_done_callback(self._tries.discard)

    async def _try(self, held: Held) -> None:
        seconds = None
        try:
            left_s = held.until - asyncio.get_running_loop().time()
            if left_s < self._trier.timeout_s + MARGIN_S:
                # Another sender may have it before this try ends: it would be sent twice.
                self._visits.give_back([held])
            else:
                seconds = await self._attempt(held)
        except TRANSIENT:
            self._visits.give_back([held])
        except Exception:  # the top of one try: its delivery is due again when its lease runs out
            log.exception("try_failed", delivery=held.delivery.id)
        finally:
            self._hand.done(held, seconds)
            self._wake(self._visits.ready(held.delivery.endpoint))
            self._go_on()

    async def _attempt(self, held: Held) -> float | None:
        delivery = held.delivery
        seen = await self._trier.attempt(delivery)
        result = told(delivery, seen, self._schedule, self._visits.now(held.shard))
        self._results.add(held.shard, result)
        self._tell(result)
        if seen.verdict is Verdict.DELIVERED:
            self._breaker.succeeded(delivery.endpoint)
        elif seen.verdict is Verdict.GONE:
            # It is disabled by now, and what is due for it ends where it is.
            self._visits.give_back(self._hand.give_up(delivery.endpoint))
        elif seen.its_own and self._breaker.failed(delivery.endpoint):
            log.warning("endpoint_left_alone", endpoint=delivery.endpoint, tenant=delivery.tenant)
            self._visits.give_back(self._hand.give_up(delivery.endpoint))
        return seen.tried.seconds if seen.its_own else None

    def _tell(self, result: Told) -> None:
        tried, delivery = result.tried, result.delivery
        if tried is None or result.verdict is Verdict.DELIVERED:
            return
        log.info(
            "delivery_failed",
            delivery=delivery.id,
            owner=delivery.owner,
            tenant=delivery.tenant,
            outcome=tried.outcome,
            tries=delivery.tries + 1,
            verdict=result.verdict.value,
            **trace_fields(delivery.traceparent),
        )

    def _wake(self, shards: Iterable[int]) -> None:
        for shard in shards:
            if (wake := self._wakes.get(shard)) is not None:
                wake.set()

    def _heard(self) -> None:
        self.heard_at = time.monotonic()
