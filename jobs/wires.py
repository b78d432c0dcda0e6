"""Connections to Redis as the library makes them, but for what a closed one says."""

from __future__ import annotations

from typing import Any

from redis import exceptions
from redis.asyncio.connection import (
    AbstractConnection,
    Connection,
    SSLConnection,
    UnixDomainSocketConnection,
)


class _Wire(AbstractConnection):
    async def send_packed_command(self, command: Any, check_health: bool = True) -> None:
        """Send it; ConnectionError also where the server was gone between connect and write.

        The library expects an OSError then, as asyncio's own loop raises. uvloop has closed the
        transport by itself, and says RuntimeError to whoever writes: a worker ended by it.
        """
        try:
            await super().send_packed_command(command, check_health)
        except RuntimeError as error:
            raise exceptions.ConnectionError(f"Connection lost while writing: {error}") from error


class _Tcp(_Wire, Connection):
    pass


class _Tls(_Wire, SSLConnection):
    pass


class _Unix(_Wire, UnixDomainSocketConnection):
    pass


_OURS: dict[type[AbstractConnection], type[AbstractConnection]] = {
    Connection: _Tcp,
    SSLConnection: _Tls,
    UnixDomainSocketConnection: _Unix,
}


def wire(kind: type[AbstractConnection]) -> type[AbstractConnection]:
    """Return our form of a kind of connection of the library."""
    return _OURS[kind]
