"""Connections for short commands, kept by us: the library's pool and its timeouts, which make a
task of every write, cost more than twice what a call itself does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from hiredis import pack_command
from redis import exceptions
from redis.asyncio import ConnectionPool
from redis.asyncio.connection import AbstractConnection


class Calls:
    """Up to `limit` connections, the one used last first; a call ends within `timeout_s`."""

    def __init__(self, pool: ConnectionPool, *, limit: int, timeout_s: float) -> None:
        """Make connections as `pool` would, whose own stay for all that is no short command."""
        self._kind: type[AbstractConnection] = pool.connection_class
        # The timeout is around the whole call instead.
        self._settings = {**pool.connection_kwargs, "socket_timeout": None}
        self._timeout_s = timeout_s
        self._slots = asyncio.Semaphore(limit)
        self._idle: list[AbstractConnection] = []

    async def send(self, command: Sequence[Any]) -> Any:
        """Send one command, packed in C (a group of submits has a thousand arguments)."""
        packed = pack_command(tuple(command))
        async with self._slots:
            connection = self._idle.pop() if self._idle else self._kind(**self._settings)
            try:
                async with asyncio.timeout(self._timeout_s):
                    if _hung_up(connection):
                        # A server that was started again: no call need fail for the old one.
                        await self.close()
                        await connection.disconnect(nowait=True)
                    if not connection.is_connected:
                        await connection.connect()  # type: ignore[no-untyped-call]
                    await connection.send_packed_command(packed, check_health=False)
                    return await connection.read_response()
            except (exceptions.ConnectionError, exceptions.TimeoutError, OSError):
                # The others are of the same server: what cut this one has cut them too.
                await self.close()
                raise
            finally:
                # One that was given up in the middle of an answer has been cut.
                if connection.is_connected:
                    self._idle.append(connection)

    async def close(self) -> None:
        """Close what is idle; the next call connects anew."""
        idle, self._idle = self._idle, []
        for connection in idle:
            await connection.disconnect(nowait=True)


def _hung_up(connection: AbstractConnection) -> bool:
    """Whether the server has closed it while it was idle; the library would look by reading."""
    reader = connection._reader
    return reader is not None and reader.at_eof()
