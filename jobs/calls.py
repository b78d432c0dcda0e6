"""Connections for short commands, kept by us: the library's pool and its timeouts, which make a
task of every write, cost more than twice what a call itself does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any

from hiredis import pack_command
from redis import exceptions
from redis.asyncio.connection import AbstractConnection

from jobs.breaker import Breaker
from jobs.redis_errors import NotSent


class Calls:
    """Up to `limit` connections, the one used last first; a call ends within `timeout_s`, and
    waits as long at the most for a connection that is free.

    `admit` is asked before each new connection, and raises where this server is not the one to
    talk to any more. With a breaker, calls fail at once after one that got no answer.
    """

    def __init__(
        self,
        kind: type[AbstractConnection],
        settings: Mapping[str, Any],
        *,
        limit: int,
        timeout_s: float,
        admit: Callable[[], Awaitable[None]] | None = None,
        breaker: Breaker | None = None,
    ) -> None:
        self._kind = kind
        # The timeout is around the whole call instead.
        self._settings = {**settings, "socket_timeout": None}
        self._timeout_s = timeout_s
        self._admit = admit
        self._breaker = breaker
        self._slots = asyncio.Semaphore(limit)
        self._idle: list[AbstractConnection] = []
        self._epoch = 0
        self._retired = False

    async def send(self, command: Sequence[Any]) -> Any:
        """Send one command, packed in C (a group of submits has a thousand arguments)."""
        return await self._exchange(pack_command(tuple(command)), self._kind.read_response)

    async def send_all(self, commands: Sequence[Sequence[Any]]) -> list[Any]:
        """Send several on one connection, in one write; errors are among the answers."""

        async def read(connection: AbstractConnection) -> list[Any]:
            return [await _answer(connection) for _ in commands]

        packed = b"".join(pack_command(tuple(command)) for command in commands)
        answers: list[Any] = await self._exchange(packed, read)
        return answers

    async def _exchange(self, packed: bytes, read: Callable[[Any], Awaitable[Any]]) -> Any:
        await (self._wait() if self._slots.locked() else self._slots.acquire())
        try:
            # Looked at with the slot in hand: who waited for it while others got no answer is
            # told at once.
            if self._breaker is not None:
                self._breaker.refuse()
            connection = self._idle.pop() if self._idle else self._kind(**self._settings)
            epoch, sent = self._epoch, False
            try:
                async with asyncio.timeout(self._timeout_s):
                    if _hung_up(connection):
                        # A server that was started again: no call need fail for the old one.
                        await self.close()
                        await connection.disconnect(nowait=True)
                    if not connection.is_connected:
                        epoch = await self._connect(connection)
                    sent = True
                    await connection.send_packed_command(packed, check_health=False)
                    return await read(connection)
            except (exceptions.ConnectionError, exceptions.TimeoutError, OSError) as error:
                # The others are of the same server: what cut this one has cut them too.
                await self.close()
                slow = isinstance(error, exceptions.TimeoutError | TimeoutError)
                if slow and self._breaker is not None:
                    self._breaker.trip()
                if not sent and not isinstance(error, exceptions.AuthenticationError):
                    raise NotSent(error, slow=slow) from error
                raise
            finally:
                # One that was given up in the middle of an answer has been cut.
                if connection.is_connected:
                    if epoch == self._epoch:
                        self._idle.append(connection)
                    else:
                        await connection.disconnect(nowait=True)
        finally:
            self._slots.release()

    async def _wait(self) -> None:
        # A limit of its own: a call that came late still has all its time for the answer.
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._slots.acquire()
        except TimeoutError as error:
            raise NotSent("no connection became free in time", slow=True) from error

    async def _connect(self, connection: AbstractConnection) -> int:
        """Connect, and return the epoch in which this was admitted."""
        while True:
            # Before the question: a server that freezes in the handshake may wake long after
            # another has taken over, and what admitted it then is worth nothing.
            epoch = self._epoch
            if self._retired:
                raise NotSent("another server has taken over")
            if self._admit is not None:
                await self._admit()
            await connection.connect()  # type: ignore[no-untyped-call]
            if epoch == self._epoch:
                return epoch
            await connection.disconnect(nowait=True)

    async def retire(self) -> None:
        """Close everything for good: no call is sent from now on."""
        self._retired = True
        await self.close()

    async def close(self) -> None:
        """Close what is idle, and what is not once it is; the next call connects anew."""
        self._epoch += 1
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.disconnect(nowait=True)


async def _answer(connection: AbstractConnection) -> Any:
    try:
        return await connection.read_response()
    except exceptions.ResponseError as error:
        return error


def _hung_up(connection: AbstractConnection) -> bool:
    """Whether it was closed or reset while it was idle; the library would look by reading."""
    reader, writer = connection._reader, connection._writer
    if reader is None or writer is None:
        return False
    # A reset is no end of file, and what is written after one is no OSError on every loop.
    return reader.at_eof() or reader.exception() is not None or writer.is_closing()
