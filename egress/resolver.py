"""Names to addresses, by the system's resolver in threads of its own."""

from __future__ import annotations

import asyncio
import errno
import socket
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextvars import ContextVar
from types import TracebackType
from typing import Protocol, Self

#: A name server that never answers holds a thread for half a minute.
_THREADS = 32
#: Look-ups at once on behalf of one tenant: whose name servers are dead holds up nobody else's.
_SHARE = 8

#: On whose behalf names are looked up; empty where it is nobody's in particular.
on_behalf_of: ContextVar[str] = ContextVar("egress_on_behalf_of", default="")


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
        self._lock = threading.Lock()
        self._under_way: Counter[str] = Counter()

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
        """Return the addresses of both families, in the order of the system's preference.

        OSError also where too many look-ups on the same behalf are under way.
        """
        who = on_behalf_of.get()
        with self._lock:
            if who and self._under_way[who] >= _SHARE:
                raise OSError(errno.EAGAIN, "too many names are being looked up at once")
            self._under_way[who] += 1
        found = self._threads.submit(_addresses, host, port)
        # Of the thread, not of who waits for it: that one may have gone long before.
        found.add_done_callback(lambda _: self._ended(who))
        return await asyncio.wrap_future(found)

    def _ended(self, who: str) -> None:
        with self._lock:
            self._under_way[who] -= 1
            if not self._under_way[who]:
                del self._under_way[who]


def _addresses(host: str, port: int) -> list[str]:
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except socket.gaierror as error:
        if error.errno in (socket.EAI_NONAME, getattr(socket, "EAI_NODATA", socket.EAI_NONAME)):
            return []
        raise
    return list(dict.fromkeys(str(address[0]) for *_, address in found))
