"""Two words with a Redis on a unix socket, before any client library is needed."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

_LIMIT_S = 2.0


async def answers(path: Path) -> bool:
    """Whether the server is up and has read its data."""
    try:
        async with asyncio.timeout(_LIMIT_S):
            reader, writer = await asyncio.open_unix_connection(path)
            try:
                writer.write(b"PING\r\n")
                return (await reader.readline()).startswith(b"+PONG")
            finally:
                writer.close()
    except OSError:  # TimeoutError too
        return False


def shut_down(path: Path) -> None:
    """Ask the server to flush and end; OSError where there is none."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_LIMIT_S)
        connection.connect(str(path))
        connection.sendall(b"SHUTDOWN\r\n")
        connection.recv(1)
