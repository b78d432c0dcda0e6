"""Which server has which slot: one server alone, or the master that Sentinels name."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol, cast

from redis import exceptions
from redis.asyncio import ConnectionPool, Redis

from jobs.node import Limits, Node
from jobs.redis_errors import NotSent, WrongKind
from jobs.redis_url import Target

#: For so long a call that may be repeated is tried again while another server takes over.
PATIENCE_S = 1.0
#: A Sentinel or node that does not say where the masters are in this time is passed over.
LOOK_S = 0.7
#: Who looked this shortly ago need not look again.
FRESH_S = 0.05
#: How often Sentinels are asked although every call goes through: a master that was cut off
#: takes writes until it hears that it is none.
_WATCH_S = 1.0


class Topology(Protocol):
    """Where slots are; `at` knows, `find` finds out, `refresh` looks anew."""

    #: How long a repeatable call waits for a server to come back, or for another.
    patience_s: float

    def at(self, slot: int) -> Node | None:
        """Return the server of a slot as far as it is known."""

    async def refresh(self, suspect: Node | None = None) -> None:
        """Find out who serves what, as somebody else than `suspect` tells it."""

    async def masters(self) -> Sequence[Node]:
        """Return every server that takes writes."""

    def any(self) -> Node:
        """Return a server to subscribe at; raises NotSent while none is known."""

    def redirect(self, slot: int, error: exceptions.MovedError) -> None:
        """Take note of where a server has sent us."""

    async def watch(self) -> None:
        """See what changes without a call that fails; until canceled."""

    async def close(self) -> None:
        """Close every connection."""


class Alone:
    """One server; if it is replaced, its address leads to the new one."""

    patience_s = 0.0

    def __init__(self, target: Target, limits: Limits) -> None:
        self._node = Node(target.connection, target.settings, limits)

    def at(self, slot: int) -> Node:
        """Return the server."""
        return self._node

    def any(self) -> Node:
        """Return the server."""
        return self._node

    async def refresh(self, suspect: Node | None = None) -> None:
        """Nothing can be found out."""

    async def masters(self) -> Sequence[Node]:
        """Return the server."""
        return [self._node]

    def redirect(self, slot: int, error: exceptions.MovedError) -> None:
        """A node of a Cluster behind a plain URL: `verify` says so."""

    async def watch(self) -> None:
        """Nothing changes."""

    async def close(self) -> None:
        """Close every connection."""
        await self._node.retire()


class Looking:
    """Lets one task look while the others wait for what it finds."""

    def __init__(self, look: Callable[[Node | None], Awaitable[None]]) -> None:
        self._look = look
        self._lock = asyncio.Lock()
        self._looked_at = float("-inf")
        self._failure: Exception | None = None

    async def look(self, suspect: Node | None) -> None:
        """Look, unless somebody has looked after this was asked; raises what that one met."""
        asked_at = time.monotonic()
        async with self._lock:
            if self._looked_at < asked_at - FRESH_S:
                self._failure = None
                try:
                    await self._look(suspect)
                except (exceptions.RedisError, OSError) as error:
                    self._failure = error
                self._looked_at = time.monotonic()
            if self._failure is not None:
                raise self._failure


async def again_and_again(refresh: Callable[[], Awaitable[None]], every_s: float) -> None:
    """Look for changes until canceled."""
    while True:
        await asyncio.sleep(every_s)
        try:
            await refresh()
        except (exceptions.RedisError, OSError):
            # A call that needs a server says so itself.
            continue


class Sentinels:
    """The master that Sentinels name; each new connection asks them first.

    A master that was killed and comes back believes for some seconds that it still is one. So its
    address alone proves nothing.
    """

    patience_s = PATIENCE_S

    def __init__(self, target: Target, limits: Limits) -> None:
        self._target = target
        self._limits = limits
        self._node: Node | None = None
        self._looking = Looking(self._look)
        self._sentinels = [_sentinel(target, *address) for address in target.addresses]
        #: The names of all masters that Sentinels have spoken of.
        self.known: set[str] = set()

    def at(self, slot: int) -> Node | None:
        """Return the master, whatever the slot."""
        return self._node

    def any(self) -> Node:
        """Return the master."""
        if self._node is None:
            raise NotSent(f"no Sentinel has named a master for {self._target.master!r} yet")
        return self._node

    async def masters(self) -> Sequence[Node]:
        """Return the master."""
        if self._node is None:
            await self.refresh()
        return [self.any()]

    def redirect(self, slot: int, error: exceptions.MovedError) -> None:
        """A Cluster behind Sentinels: `verify` says so."""

    async def refresh(self, suspect: Node | None = None) -> None:
        """Ask the Sentinels, and leave the old master if there is a new one."""
        await self._looking.look(suspect)

    async def _look(self, _: Node | None) -> None:
        host, port = await self._discover()
        old = self._node
        if old is not None and old.address == f"{host}:{port}":
            return
        self._node = Node(
            self._target.connection,
            {**self._target.settings, "host": host, "port": port},
            self._limits,
            admit=self._admit,
            look=self.refresh,
        )
        if old is not None:
            await old.retire()

    async def _admit(self, node: Node) -> None:
        host, port = await self._discover()
        if node.address != f"{host}:{port}":
            raise NotSent(f"{node.address} is not the master any more, {host}:{port} is")

    async def _discover(self) -> tuple[str, int]:
        """Return the address that most of the Sentinels, and the newest of their views, names."""
        views, silent = await self._views()
        known = [view for view in views if view is not None]
        newest = _newest(known)
        if not newest or not _healthy(newest):
            flags = ", ".join(sorted({str(view["flags"]) for view in newest}))
            said = f"it is down: {flags}" if newest else "they know none"
            raise NotSent(
                f"the Sentinels name no master {self._target.master!r} that is well: "
                f"{'; '.join(silent) or said}"
            )
        return newest[0]["ip"], newest[0]["port"]

    async def _views(self) -> tuple[list[dict[str, Any] | None], list[str]]:
        """Ask all; more than half are enough, so that a frozen one holds up nobody."""
        asked = [asyncio.create_task(self._view(sentinel)) for sentinel in self._sentinels]
        views, silent = [], []
        try:
            for answered in asyncio.as_completed(asked):
                try:
                    views.append(await answered)
                except WrongKind:
                    raise
                except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as error:
                    silent.append(str(error) or "no answer in time")
                if len(views) > len(asked) // 2:
                    break
        finally:
            for task in asked:
                task.cancel()
            await asyncio.gather(*asked, return_exceptions=True)
        return views, silent

    async def _view(self, sentinel: Redis) -> dict[str, Any] | None:
        try:
            async with asyncio.timeout(LOOK_S):
                found = cast(dict[str, Any], await sentinel.sentinel_masters())
        except exceptions.ResponseError as error:
            raise WrongKind(
                f"HEADRACE_REDIS_URL names Sentinels, but one answers: {error}. For a server "
                "write redis://host:port."
            ) from error
        self.known |= set(found)
        return found.get(self._target.master)

    async def check(self) -> None:
        """Raise WrongKind where the Sentinels answer and none knows the master."""
        views, _ = await self._views()
        if views and not any(views):
            known = ", ".join(sorted(self.known)) or "none"
            raise WrongKind(
                f"No Sentinel of HEADRACE_REDIS_URL knows a master named {self._target.master!r}; "
                f"they know: {known}."
            )

    async def watch(self) -> None:
        """Ask again and again."""
        await again_and_again(self.refresh, _WATCH_S)

    async def close(self) -> None:
        """Close every connection."""
        if self._node is not None:
            await self._node.retire()
        for sentinel in self._sentinels:
            await sentinel.aclose()


def _sentinel(target: Target, host: str, port: int) -> Redis:
    settings = {**target.sentinel_settings, "host": host, "port": port}
    return Redis.from_pool(ConnectionPool(connection_class=target.connection, **settings))


def _newest(views: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    epoch = max((int(view["config-epoch"]) for view in views), default=0)
    return [view for view in views if int(view["config-epoch"]) == epoch]


def _healthy(views: Sequence[dict[str, Any]]) -> bool:
    """Whether the master of these views, all of one epoch, is well.

    A Sentinel alone may be the one that is cut off, so `s_down` needs most of them.
    """
    if any(view["is_odown"] or not view["is_master"] for view in views):
        return False
    return sum(bool(view["is_sdown"]) for view in views) <= len(views) // 2
