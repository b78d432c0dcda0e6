"""Ports and addresses of this machine."""

from __future__ import annotations

import asyncio
import ipaddress
import socket

from headrace.errors import StartRefused

_LIMIT_S = 1.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}


def claimable_port(host: str, port: int) -> int:
    """Return the port if it can be listened on, a free one for 0; StartRefused says why not."""
    try:
        family, _, _, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        with socket.socket(family, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            return int(listener.getsockname()[1])
    except OSError as error:
        raise StartRefused(
            f"port {port} on {host} cannot be used ({error.strerror}): "
            "choose another with --port or HEADRACE_API_PORT"
        ) from error


def base_url(host: str, port: int) -> str:
    """Return the URL under which this machine reaches what listens there."""
    reached = _EVERYWHERE.get(host, host)
    return f"http://[{reached}]:{port}" if ":" in reached else f"http://{reached}:{port}"


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


async def listens(host: str, port: int) -> bool:
    """Whether something takes connections there."""
    try:
        async with asyncio.timeout(_LIMIT_S):
            _, writer = await asyncio.open_connection(_EVERYWHERE.get(host, host), port)
            writer.close()
    except OSError:
        return False
    return True
