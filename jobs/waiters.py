"""Waiting for the end of jobs: one subscription for a whole process."""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable

from redis.asyncio.client import PubSub

from jobs import keys
from jobs.connection import RedisConnections, translated
from jobs.errors import HeadraceError, QueueUnavailable
from jobs.ids import shard_of
from jobs.job import Job, jobs_from_wake
from telemetry import logs

#: A wake that was lost (a failover, a full buffer) is made good by looking again.
LOOK_AGAIN_S = 5.0
#: Who waits is let go once Redis has given no answer for so long: a restart is mostly over by then,
#: and a client that is told can do something else. With the time until a frozen Redis is noticed
#: (a look, and its timeout), a wait ends within 2.5 s of a Redis that is gone, and within
#: LOOK_AGAIN_S + SOCKET_TIMEOUT_S + 0.5 s of one that is frozen.
PATIENCE_S = 2.0
_RECONNECT_S = 0.5
#: What a message that names jobs begins with; one that carries them is MessagePack.
_ID = b"job_"

log = logs.get(__name__)


class Waiters:
    """Who in this process waits for which job.

    `look` reads jobs and watches those that are not final, in one script.
    """

    def __init__(
        self,
        connections: RedisConnections,
        process_id: str,
        look: Callable[[list[str]], Awaitable[list[Job | None]]],
    ) -> None:
        self.channel = keys.wake_channel(connections.namespace, process_id)
        self._connections = connections
        self._look = look
        self._waiting: dict[str, set[asyncio.Future[Job | None]]] = {}
        self._unborn: set[str] = set()
        self._tasks: list[asyncio.Task[None]] = []
        self._doubt = asyncio.Event()
        #: Shards that gave no answer, and since when.
        self._silent: dict[int | None, float] = {}
        self._draining = False

    def start(self) -> None:
        """Begin to listen; Redis need not be there yet."""
        self._tasks = [
            asyncio.create_task(self._listen(), name="wake-listener"),
            asyncio.create_task(self._keep_looking(), name="wake-look-again"),
        ]

    @property
    def broken(self) -> list[str]:
        """Which parts have ended by an error that nobody foresaw: waits would hang to their end."""
        return [task.get_name() for task in self._tasks if task.done()]

    async def stop(self) -> None:
        """Let every waiter go and stop listening."""
        self.drain()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        self._tasks = []

    def drain(self) -> None:
        """Let every waiter go, now and from now on."""
        self._draining = True
        for identifier in list(self._waiting):
            self._answer(identifier, None)

    def expect(self, identifier: str, *, unborn: bool = False) -> asyncio.Future[Job | None]:
        """Return a future of the final job, or of None when there is no more waiting for it.

        None also when the process drains or Redis is away: who reads the job then sees which.

        The caller makes sure that the job is watched (by its submit or by a look), and gives
        the future to `forget` in the end. An `unborn` job is on its way to Redis: until `born`
        says that it is there, not finding it means nothing.
        """
        if unborn:
            self._unborn.add(identifier)
        future: asyncio.Future[Job | None] = asyncio.get_running_loop().create_future()
        if self._draining:
            future.set_result(None)
        self._waiting.setdefault(identifier, set()).add(future)
        return future

    def born(self, identifier: str) -> None:
        """Take note that a job is in Redis."""
        self._unborn.discard(identifier)

    def forget(self, identifier: str, future: asyncio.Future[Job | None]) -> None:
        """Stop waiting."""
        self._unborn.discard(identifier)
        futures = self._waiting.get(identifier)
        if futures is not None:
            futures.discard(future)
            if not futures:
                del self._waiting[identifier]

    async def look_again(self) -> None:
        """Find by looking what ended while nobody listened.

        Whoever waits for a job whose shard has given no answer for long is let go.
        """
        await self._look_at(self._waiting.keys() - self._unborn)
        waited = {shard_of(identifier) for identifier in self._waiting}
        self._silent = {shard: at for shard, at in self._silent.items() if shard in waited}

    async def _look_at(self, identifiers: Iterable[str]) -> None:
        by_shard: dict[int | None, list[str]] = defaultdict(list)
        for identifier in identifiers:
            if identifier in self._waiting:
                by_shard[shard_of(identifier)].append(identifier)
        # Each shard by itself: one whose server is away must not keep the others waiting.
        await asyncio.gather(*(self._look_in(shard, ids) for shard, ids in by_shard.items()))

    async def _look_in(self, shard: int | None, identifiers: list[str]) -> None:
        clock = asyncio.get_running_loop().time
        began = clock()
        try:
            found = await self._look(identifiers)
        except HeadraceError:
            if clock() - self._silent.setdefault(shard, began) >= PATIENCE_S:
                for identifier in identifiers:
                    self._answer(identifier, None)
            self._doubt.set()
            return
        self._silent.pop(shard, None)
        for identifier, job in zip(identifiers, found, strict=True):
            if job is None or job.final:
                self._answer(identifier, job)

    def _answer(self, identifier: str, job: Job | None) -> None:
        for future in list(self._waiting.get(identifier, ())):
            _set(future, job)

    async def _listen(self) -> None:
        away = False
        while True:
            try:
                client = self._connections.dedicated()
                async with contextlib.aclosing(client), client.pubsub() as subscription:
                    with translated():
                        await subscription.subscribe(self.channel)
                    away = False
                    await self.look_again()
                    await self._hear(subscription)
            except HeadraceError as error:
                if not away:
                    log.warning("waiters_disconnected", reason=error.detail)
                away = True
                self._doubt.set()
                await asyncio.sleep(_RECONNECT_S)

    async def _hear(self, subscription: PubSub) -> None:
        asked = False
        while True:
            with translated():
                message = await subscription.get_message(
                    ignore_subscribe_messages=True, timeout=LOOK_AGAIN_S
                )
                if message is None:
                    if asked:
                        raise QueueUnavailable("The subscription is dead.")
                    # A connection whose other end vanished looks just like a quiet one.
                    await subscription.ping()
            asked = message is None
            if message is not None and message["type"] == "message":
                await self._heard(message["data"])

    async def _heard(self, message: bytes) -> None:
        if message.startswith(_ID):
            await self._look_at(message.decode().split(" "))
            return
        jobs = jobs_from_wake(message)
        if self._connections.durability == "replicated":
            # Published at once, and perhaps on no replica yet: a read waits until it is.
            await self._look_at(job.id for job in jobs)
            return
        for job in jobs:
            self._answer(job.id, job)

    async def _keep_looking(self) -> None:
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(LOOK_AGAIN_S):
                    await self._doubt.wait()
            self._doubt.clear()
            await self.look_again()
            if self._silent:
                await asyncio.sleep(_RECONNECT_S)


def _set(future: asyncio.Future[Job | None], job: Job | None) -> None:
    if not future.done():
        future.set_result(job)
