"""A Service on loopback: connections go to a pod that is ready, and stay with it to their end.

Like kube-proxy it chooses when a connection is opened, and learns of a pod that came or goes some
time later; what is open then stays open.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
import threading
from types import TracebackType
from typing import Self

#: Until every node has heard that a pod is ready, or goes.
LAG_S = 1.0
_RESET = struct.pack("ii", 1, 0)

Address = tuple[str, int]
Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Service:
    """Listens on a port of its own, and leads to `endpoints` in turn."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.port = 0
        #: Connections that found no pod, or one that did not take them.
        self.refused = 0
        self._endpoints: list[Address] = []
        self._turn = itertools.count()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="service")
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    def __enter__(self) -> Self:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._open(), self._loop).result(10)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(10)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    @property
    def address(self) -> str:
        """What stands for its name and port."""
        return f"{self.host}:{self.port}"

    def add(self, endpoint: Address) -> None:
        """Lead to this pod, soon."""
        self._loop.call_soon_threadsafe(self._loop.call_later, LAG_S, self._add, endpoint)

    def remove(self, endpoint: Address) -> None:
        """Lead to it no more, soon."""
        self._loop.call_soon_threadsafe(self._loop.call_later, LAG_S, self._remove, endpoint)

    def leads_to(self, endpoint: Address) -> bool:
        """Whether new connections may go there."""
        return endpoint in self._endpoints

    def _add(self, endpoint: Address) -> None:
        if endpoint not in self._endpoints:
            self._endpoints.append(endpoint)

    def _remove(self, endpoint: Address) -> None:
        if endpoint in self._endpoints:
            self._endpoints.remove(endpoint)

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._serve, self.host, 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        with contextlib.suppress(asyncio.CancelledError):
            await self._pair((reader, writer))
        self._tasks.discard(task)

    async def _pair(self, client: Streams) -> None:
        pod: Streams | None = None
        try:
            if not self._endpoints:
                raise ConnectionRefusedError
            endpoint = self._endpoints[next(self._turn) % len(self._endpoints)]
            pod = await asyncio.open_connection(*endpoint)
        except OSError:
            self.refused += 1
            _cut(client[1])
            return
        try:
            ways = [_copy(client[0], pod[1]), _copy(pod[0], client[1])]
            await asyncio.gather(*ways)
        finally:
            for _, writer in (client, pod):
                writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Pass on what comes, and the end of it as it ended: a farewell or a reset."""
    try:
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
        writer.write_eof()
    except OSError:
        _cut(writer)


def _cut(writer: asyncio.StreamWriter) -> None:
    if not writer.transport.is_closing():
        plain: socket.socket = writer.get_extra_info("socket")
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        writer.transport.abort()
