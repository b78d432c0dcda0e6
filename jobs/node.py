"""One Redis server that takes our writes, and everything we have connected to it."""

from __future__ import annotations

import asyncio
import contextlib
import weakref
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from redis import exceptions
from redis.asyncio import ConnectionPool, Redis
from redis.asyncio.connection import AbstractConnection, UnixDomainSocketConnection

from jobs.breaker import Breaker
from jobs.calls import Calls
from jobs.errors import HeadraceError, NotDurable
from jobs.scripts import Script

_REPLICA_WAIT_MS = 1000
#: Changes nothing, and goes to the replicas; a script, since it may when memory is full.
_TOUCH = "#!lua flags=allow-oom\nredis.call('INCRBY', KEYS[1] .. 'fence', 0)"
#: How long a probe waits for the answer of a server that gave none before.
_PROBE_S = 1.0

Send = Callable[[Sequence[Any]], Awaitable[Any]]


@dataclass(frozen=True, slots=True)
class Limits:
    """How the connections to each server behave."""

    pool_size: int
    timeout_s: float
    fail_fast: bool


class Commands(Redis):
    """The library's commands and their answers, sent through connections of ours."""

    def __init__(self, kind: type[AbstractConnection], settings: Mapping[str, Any], send: Send):
        # The pool never connects: the library reads the protocol from it.
        super().__init__(connection_pool=ConnectionPool(connection_class=kind, **settings))
        self._send = send

    async def execute_command(self, *args: Any, **options: Any) -> Any:
        """Send a command, and read its answer as the library would."""
        name, *rest = args
        answer = await self._send([*name.split(), *rest])
        options.pop("keys", None)
        callback = self.response_callbacks.get(name)
        return answer if callback is None else callback(answer, **options)

    def pipeline(self, *_: Any, **__: Any) -> Any:
        """Refuse: what belongs together is a script, here."""
        raise NotImplementedError("these commands go one by one; use a script")


class Node:
    """A server by its address; `retire` closes every connection that was made through it."""

    def __init__(
        self,
        kind: type[AbstractConnection],
        settings: Mapping[str, Any],
        limits: Limits,
        *,
        admit: Callable[[Node], Awaitable[None]] | None = None,
        look: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        """`look` finds out whether another server has taken over; a probe asks it first."""
        self._kind = kind
        self._settings = settings
        self._look = look
        self._readers: weakref.WeakSet[Redis] = weakref.WeakSet()
        self.retired = False
        self._breaker = Breaker(self._answers) if limits.fail_fast else None
        self.calls = Calls(
            kind,
            settings,
            limit=limits.pool_size,
            timeout_s=limits.timeout_s,
            admit=None if admit is None else lambda: admit(self),
            breaker=self._breaker,
        )
        #: The library's commands, to this server whatever their keys.
        self.client = Commands(kind, settings, self.calls.send)

    @property
    def address(self) -> str:
        """Host and port, or the path of the socket."""
        if issubclass(self._kind, UnixDomainSocketConnection):
            return str(self._settings.get("path"))
        return f"{self._settings.get('host', 'localhost')}:{self._settings.get('port', 6379)}"

    async def run(self, script: Script, prefix: str, args: Sequence[Any], *, confirm: bool) -> Any:
        """Run a script; with `confirm` a replica has what it wrote, or NotDurable is raised."""
        command = ("EVALSHA", script.sha, 1, prefix, *args)
        try:
            return await self._run(command, prefix, confirm=confirm)
        except exceptions.NoScriptError:
            await self.calls.send(("SCRIPT", "LOAD", script.body))
            return await self._run(command, prefix, confirm=confirm)

    async def _run(self, command: Sequence[Any], prefix: str, *, confirm: bool) -> Any:
        if not confirm:
            return await self.calls.send(command)
        # After a command that wrote nothing (a read, a repeated submit) WAIT confirms, in newer
        # versions of Redis, only what this connection wrote before. So there is one write more.
        write, wait = ("EVAL", _TOUCH, 1, prefix), ("WAIT", 1, _REPLICA_WAIT_MS)
        answer, written, confirmed = await self.calls.send_all([command, write, wait])
        for each in (answer, written, confirmed):
            if isinstance(each, Exception):
                raise each
        if confirmed < 1:
            raise NotDurable(
                "No replica confirmed the write within a second. Ask again with the same "
                "Idempotency-Key.",
                retry_after_s=2,
            )
        return answer

    def reader(self) -> Redis:
        """Return a client with a connection of its own, for blocking reads; the caller closes."""
        pool = ConnectionPool(connection_class=self._kind, max_connections=4, **self._settings)
        client = Redis(connection_pool=pool, single_connection_client=True)
        client.auto_close_connection_pool = True
        self._readers.add(client)
        return client

    def trip(self) -> None:
        """Let further calls fail at once, where this is wanted, until it answers again."""
        if self._breaker is not None and not self.retired:
            self._breaker.trip()

    async def retire(self) -> None:
        """Close everything: another server has taken over, or nobody needs one."""
        self.retired = True
        if self._breaker is not None:
            await self._breaker.close()
        await self.calls.retire()
        for client in list(self._readers):
            await client.connection_pool.disconnect()

    async def _answers(self) -> bool:
        if self._look is not None:
            with contextlib.suppress(HeadraceError, exceptions.RedisError, OSError):
                await self._look()
        if self.retired:
            return True
        connection = self._kind(**{**self._settings, "socket_timeout": None})
        try:
            async with asyncio.timeout(_PROBE_S):
                await connection.connect()  # type: ignore[no-untyped-call]
                await connection.send_command("PING")
                await connection.read_response()
        except (exceptions.RedisError, OSError):
            return False
        finally:
            await connection.disconnect(nowait=True)
        return True
