"""The connection to Redis: the one place that knows its client library and its errors."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Self, cast

from redis import exceptions
from redis.asyncio import BlockingConnectionPool, Redis
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff

from jobs import keys
from jobs.calls import Calls
from jobs.errors import NotDurable, QueueFull, QueueUnavailable, WrongRedis
from jobs.scripts import Script

#: Seconds after which an answer is given up; blocking reads use connections of their own.
SOCKET_TIMEOUT_S = 5.0
_REPLICA_WAIT_MS = 1000
_OLDEST = (7, 0)
#: What a server answers that is there and cannot do its work, now or with these rights.
_UNABLE = (
    "BUSY ",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "NOAUTH",
    "NOPERM",
    "NOREPLICAS",
    "READONLY",
    "TRYAGAIN",
    "UNKILLABLE",
)
_SCHEMES = ("redis://", "rediss://", "unix://")

DURABILITIES = ("always", "everysec", "replicated")


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn every error of the client library into one of ours, and keep the cause."""
    task = asyncio.current_task()
    canceled_before = 0 if task is None else task.cancelling()
    try:
        yield
    except exceptions.OutOfMemoryError as error:
        raise QueueFull("Redis has no memory left for another job.", retry_after_s=5) from error
    except (
        exceptions.ConnectionError,
        exceptions.TimeoutError,
        exceptions.ReadOnlyError,
        exceptions.MasterDownError,
        exceptions.TryAgainError,
        OSError,
    ) as error:
        raise QueueUnavailable(f"Redis cannot be reached: {error}", retry_after_s=2) from error
    except exceptions.ResponseError as error:
        if str(error).startswith(_UNABLE):
            raise QueueUnavailable(f"Redis cannot serve this: {error}", retry_after_s=5) from error
        raise
    # Python 3.11's wait_for, around each of the library's writes, loses a cancellation that comes
    # together with its result; a loop that is told to end would then go on for ever.
    if task is not None and task.cancelling() > canceled_before:
        raise asyncio.CancelledError


class RedisConnections:
    """A pool for scripts, and single connections for blocking reads and subscriptions.

    The client never retries by itself: whether a lost reply may be repeated is known only to
    the caller.
    """

    def __init__(
        self,
        url: str,
        *,
        namespace: str = keys.DEFAULT_NAMESPACE,
        pool_size: int = 16,
        durability: str = "always",
    ) -> None:
        if not url.startswith(_SCHEMES):
            shown = url.partition("://")[0]
            raise WrongRedis(
                f"HEADRACE_REDIS_URL begins with {shown}://; use one of {', '.join(_SCHEMES)}."
            )
        if durability not in DURABILITIES:
            raise WrongRedis(f"HEADRACE_DURABILITY is {durability!r}; use one of {DURABILITIES}.")
        self.url = url
        self.namespace = namespace
        self.durability = durability
        self._pool_size = pool_size
        self._client: Redis | None = None
        self._calls: Calls | None = None

    async def __aenter__(self) -> Self:
        pool = BlockingConnectionPool.from_url(
            self.url,
            max_connections=self._pool_size,
            timeout=SOCKET_TIMEOUT_S,
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_connect_timeout=SOCKET_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )
        self._client = Redis.from_pool(pool)
        self._calls = Calls(pool, limit=self._pool_size, timeout_s=SOCKET_TIMEOUT_S)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._calls is not None:
            calls, self._calls = self._calls, None
            await calls.close()
        if self._client is not None:
            client, self._client = self._client, None
            await client.aclose()

    @property
    def client(self) -> Redis:
        """The pooled client for short commands; use it inside `translated()`."""
        if self._client is None:
            raise RuntimeError("RedisConnections is used outside its `async with` block")
        return self._client

    @property
    def calls(self) -> Calls:
        """The connections for scripts; use them inside `translated()`."""
        if self._calls is None:
            raise RuntimeError("RedisConnections is used outside its `async with` block")
        return self._calls

    def dedicated(self) -> Redis:
        """Return a client with a connection of its own, for blocking reads; the caller closes."""
        return Redis.from_url(
            self.url,
            single_connection_client=True,
            socket_timeout=SOCKET_TIMEOUT_S,
            socket_connect_timeout=SOCKET_TIMEOUT_S,
            retry=Retry(NoBackoff(), 0),
        )

    async def run(self, script: Script, shard: int, args: Sequence[bytes | str | float]) -> Any:
        """Run a script on a shard.

        Raises QueueUnavailable when no answer came (the script may have run), QueueFull when
        memory is full, NotDurable when too few replicas have it.
        """
        prefix = keys.shard_prefix(self.namespace, shard)
        with translated():
            try:
                return await self._evaluate(script, prefix, args)
            except exceptions.NoScriptError:
                await self.client.script_load(script.body)
                return await self._evaluate(script, prefix, args)

    async def _evaluate(self, script: Script, prefix: str, args: Sequence[Any]) -> Any:
        if self.durability != "replicated" or not script.told:
            return await self.calls.send(("EVALSHA", script.sha, 1, prefix, *args))
        async with self.client.pipeline(transaction=False) as pipe:
            pipe.evalsha(script.sha, 1, prefix, *args)
            pipe.wait(1, _REPLICA_WAIT_MS)
            answer, confirmed = await pipe.execute()
        if confirmed < 1:
            raise NotDurable(
                "No replica confirmed the write within a second. Ask again with the same "
                "Idempotency-Key.",
                retry_after_s=2,
            )
        return answer

    async def healthy(self) -> bool:
        """Say whether Redis answers now."""
        try:
            with translated():
                return bool(await self.client.ping())
        except (QueueUnavailable, QueueFull):
            return False

    async def memory_used_ratio(self) -> float | None:
        """Return used memory over `maxmemory`, or None where Redis has no limit."""
        with translated():
            info = await self.client.info("memory")
        limit = info.get("maxmemory", 0)
        return info["used_memory"] / limit if limit else None

    async def verify(self) -> list[str]:
        """Check that this server can keep the promise; return what could not be checked.

        Raises WrongRedis, whose detail names the setting to change, or QueueUnavailable.
        """
        with translated():
            server = await self.client.info("server")
            try:
                config = await self.client.config_get(
                    "maxmemory-policy", "appendonly", "appendfsync"
                )
            except exceptions.ResponseError:
                config = {}
        version = str(server.get("valkey_version") or server["redis_version"])
        if tuple(int(part) for part in version.split(".")[:2]) < _OLDEST:
            raise WrongRedis(f"Redis {version} is too old; Headrace needs 7.0 or newer.")
        if not config:
            return [f"durability {self.durability!r} is unverified: this Redis hides its settings"]
        _check_settings(cast(dict[str, str], config), self.durability)
        return []


def _check_settings(config: dict[str, str], durability: str) -> None:
    policy = config.get("maxmemory-policy", "noeviction")
    if policy != "noeviction":
        raise WrongRedis(
            f"Redis would evict jobs (maxmemory-policy {policy}). "
            "Run: CONFIG SET maxmemory-policy noeviction"
        )
    if durability == "replicated":
        return
    if config.get("appendonly") != "yes":
        raise WrongRedis(
            "Redis keeps nothing on disk (appendonly no). Run: CONFIG SET appendonly yes"
        )
    if durability == "always" and config.get("appendfsync") != "always":
        raise WrongRedis(
            f"HEADRACE_DURABILITY is always, but Redis has appendfsync "
            f"{config.get('appendfsync')}. Run: CONFIG SET appendfsync always, "
            "or set HEADRACE_DURABILITY=everysec"
        )
