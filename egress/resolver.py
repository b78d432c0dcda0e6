"""Names to addresses, by the system's resolver in threads of its own."""

from __future__ import annotations

import asyncio
import socket
from concurrent.futures import ThreadPoolExecutor
from types import TracebackType
from typing import Protocol, Self

#: A name server that never answers holds a thread for half a minute.
_THREADS = 32


class Resolver(Protocol):
    """Whoever knows the addresses of a name."""

    async def resolve(self, host: str, port: int) -> list[str]:
        """Return the addresses, or none; an OSError says that it could not be found out."""
        ...


class SystemResolver:
    """The system's resolver: /etc/hosts, the search list of a cluster, and DNS.

    Not `loop.getaddrinfo`: it shares its few threads (uvloop has four) with all else of the
    process, so that a tenant's slow name server would stop files, too.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="egress-names")

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._threads.shutdown(wait=False, cancel_futures=True)

    async def resolve(self, host: str, port: int) -> list[str]:
        """Return the addresses of both families, in the order of the system's preference."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, _addresses, host, port)


def _addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)):
            return []
        raise
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
