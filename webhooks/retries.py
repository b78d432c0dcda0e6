"""What RQ runs: retries are made due in time, lost ones are found again, and house is kept."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from types import TracebackType
from typing import Any, Self, TypeVar

from jobs.connection import RedisConnections
from jobs.deliveries import DeliveryLog
from jobs.outbox import Outbox
from jobs.shards import SHARDS
from jobs.sweeping import sweep as sweep_shards
from telemetry import logs
from webhooks.rq_parts import TIMEOUT_S
from webhooks.settings import WebhookSettings

_MOST = 1000
#: A retry that is late by so much counts as lost by RQ; less where all delays are shorter.
_GRACE_S, _LEAST_GRACE_S = 15.0, 0.5

Result = TypeVar("Result")

log = logs.get("webhooks.retries")


class Releaser:
    """An outbox on an event loop of its own, for callables that block: one for the process."""

    def __init__(self, settings: WebhookSettings) -> None:
        self._connections = RedisConnections(
            settings.redis_url,
            namespace=settings.namespace,
            durability=settings.durability,
            pool_size=4,
        )
        self._options = settings.queue_options()
        self._outbox = Outbox(self._connections, self._options, sender="retries")
        self._log = DeliveryLog(self._connections, self._options)
        scale = min(1.0, settings.webhook_delay_scale)
        self._grace_s = max(_LEAST_GRACE_S, _GRACE_S * scale)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="releaser", daemon=True)

    def __enter__(self) -> Self:
        global _releaser  # noqa: PLW0603 - RQ calls by name, with nothing but what is in its Redis
        self._thread.start()
        self._run(self._connections.__aenter__())
        _releaser = self
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        global _releaser  # noqa: PLW0603
        _releaser = None
        self._run(self._connections.__aexit__(None, None, None))
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def verify(self) -> None:
        """Raise WrongRedis or QueueUnavailable unless the queue's Redis can be worked with."""
        self._run(self._connections.verify(claim=False))

    def release(self, shard: int) -> int:
        """Make the shard's retries due whose time has come; return how many."""
        return self._run(self._release(shard))

    def sweep(self) -> int:
        """Release on every shard what RQ should have long released; return how many."""
        return self._run(self._sweep())

    def housekeep(self) -> int:
        """Do on every shard what is due, also where no model and no API looks any more; return how
        many jobs have expired.
        """
        return self._run(self._housekeep())

    async def _housekeep(self) -> int:
        expired = len(await sweep_shards(self._connections, self._options, range(SHARDS)))
        # Listing them drops those of which nothing is left.
        failing = await self._log.endpoints()
        disabled = sum(endpoint.disabled_at is not None for endpoint in failing)
        log.info("house_kept", expired=expired, failing=len(failing), disabled=disabled)
        return expired

    async def _release(self, shard: int) -> int:
        total = 0
        while (released := await self._outbox.release(shard, _MOST)) > 0:
            total += released
            if released < _MOST:
                break
        return total

    async def _sweep(self) -> int:
        total = 0
        for shard in range(SHARDS):
            if await self._outbox.overdue(shard, self._grace_s):
                total += await self._release(shard)
        if total:
            log.warning("retries_were_lost", released=total)
        return total

    def _run(self, work: Coroutine[Any, Any, Result]) -> Result:
        # RQ's own limit comes as an exception into this wait; this one is for where it does not.
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result(TIMEOUT_S)
        except BaseException:
            future.cancel()
            raise


_releaser: Releaser | None = None


def _ours() -> Releaser:
    if _releaser is None:
        raise RuntimeError("this runs in the process of retries alone")
    return _releaser


def release(shard: int) -> int:
    """Run by RQ: make the shard's retries due whose time has come."""
    return _ours().release(int(shard))


def sweep() -> int:
    """Run by RQ: find what it has lost."""
    return _ours().sweep()


def housekeep() -> int:
    """Run by RQ: do what is due on every shard."""
    return _ours().housekeep()
