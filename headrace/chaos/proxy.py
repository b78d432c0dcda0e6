"""A proxy before Redis that knows each command and each script, and cuts where it is told to.

One proxy stands for one role (an API, a worker), so a cut hits who it is meant for. It runs in a
thread of its own: tests and campaigns steer it from outside.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
import threading
import time
from collections import Counter, deque
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

from headrace.chaos.points import WHERE, Armed, Fault, Point, Storm
from headrace.chaos.resp import MESSAGE, Messages, name_of, replies_to, unasked

_HALVES = {"in_request", "in_reply"}
_RESET = struct.pack("ii", 1, 0)
_CHUNK = 256 * 1024


class Proxy:
    """Stands between one role and Redis at `upstream`; `url` is what the role is given."""

    def __init__(self, upstream: str, role: str, *, log: Path | None = None) -> None:
        self.role = role
        self.seen: Counter[str] = Counter()
        self.faults: list[Fault] = []
        self.storm: Storm | None = None
        self._upstream = upstream
        self._log = log
        self._lock = threading.Lock()
        self._armed: list[Armed] = []
        self._links: set[_Link] = set()
        self._serving: set[asyncio.Task[Any]] = set()
        self._away = False
        self._clients = 0
        self._loop = asyncio.new_event_loop()
        self._port = 0
        self._server: asyncio.Server | None = None
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy-{role}")

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._open())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._call(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _call(self, coroutine: Any) -> None:
        asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(10)

    async def _open(self) -> None:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_CHUNK)
        self._port = self._server.sockets[0].getsockname()[1]

    async def _close(self) -> None:
        assert self._server is not None
        self._server.close()
        serving = list(self._serving)
        await self._cut_all()
        await asyncio.gather(*serving, return_exceptions=True)

    @property
    def url(self) -> str:
        """The address of Redis for this role."""
        return f"redis://127.0.0.1:{self._port}/0"

    def arm(self, *points: Point) -> list[Armed]:
        """Let each point happen once, when its turn comes."""
        armed = [Armed(point) for point in points]
        with self._lock:
            self._armed += armed
        return armed

    def disarm(self, *armed: Armed) -> list[Point]:
        """Forget these, or all, that have not happened, and return their points."""
        with self._lock:
            gone = [each for each in self._armed if not armed or each in armed]
            self._armed = [each for each in self._armed if each not in gone]
        return [each.point for each in gone]

    def cut_all(self) -> None:
        """Cut every connection of the role now."""
        self._call(self._cut_all())

    def away(self, away: bool) -> None:
        """Cut the role off, or let it come back."""
        self._away = away
        if away:
            self.cut_all()

    async def _cut_all(self) -> None:
        for link in list(self._links):
            link.cut()

    def choose(self, name: str, size: int, *, request: bool) -> Armed | None:
        """Return the armed point, or the stroke of the storm, that this message meets."""
        wheres = WHERE[:2] if request else WHERE[2:]
        with self._lock:
            if request or name == MESSAGE:
                self.seen[name] += 1
            for armed in self._armed:
                point = armed.point
                if point.name == name and point.where in wheres and size >= point.least:
                    armed.left -= 1
                    if not armed.left:
                        self._armed.remove(armed)
                        return armed
            stroke = self.storm.point(name, request) if self.storm else None
        return Armed(stroke) if stroke else None

    def note(self, armed: Armed, client: int) -> None:
        """Write down what happens now."""
        point = armed.point
        fault = Fault(time.time(), self.role, client, point.name, point.where, point.delay_s)
        self.faults.append(fault)
        if self._log is not None:
            with self._log.open("a") as file:
                file.write(json.dumps(asdict(fault)) + "\n")
        armed.fired.set()
        if point.all_of_role and point.delay_s is None:
            for link in list(self._links):
                link.cut()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._clients += 1
        serving = asyncio.current_task()
        assert serving is not None
        self._serving.add(serving)
        link = _Link(self, self._clients, (reader, writer))
        self._links.add(link)
        try:
            if self._away:
                link.cut()
            else:
                await link.run(self._upstream)
        finally:
            link.cut()
            self._links.discard(link)
            self._serving.discard(serving)


_Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class _Link:
    """One connection of the role, and the one to Redis that belongs to it."""

    def __init__(self, proxy: Proxy, number: int, client: _Streams) -> None:
        self._proxy, self._number = proxy, number
        self._client = client
        self._redis: _Streams | None = None
        self._expected: deque[str] = deque()
        self._subscribed = False

    async def run(self, upstream: str) -> None:
        with contextlib.suppress(OSError):
            self._redis = await _connect(upstream)
            for _, writer in (self._client, self._redis):
                # What is drained has left, so that the first half of a message arrives.
                writer.transport.set_write_buffer_limits(0)
            ways = (self._requests(self._redis), self._replies(self._redis))
            tasks = [asyncio.create_task(way) for way in ways]
            # What ends one way ends the other, and an error of either is the end of both.
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def _requests(self, redis: _Streams) -> None:
        messages = Messages()
        while data := await self._client[0].read(_CHUNK):
            for request in messages.feed(data):
                name = name_of(request)
                self._expected.extend([name] * replies_to(name, request))
                self._subscribed = self._subscribed or "SUBSCRIBE" in name
                if not await self._pass(name, request, redis[1], request=True):
                    return
            await redis[1].drain()

    async def _replies(self, redis: _Streams) -> None:
        messages = Messages()
        while data := await redis[0].read(_CHUNK):
            for reply in messages.feed(data):
                pushed = unasked(reply, subscribed=self._subscribed)
                name = MESSAGE if pushed or not self._expected else self._expected.popleft()
                if not await self._pass(name, reply, self._client[1], request=False):
                    return
            await self._client[1].drain()

    async def _pass(
        self, name: str, message: bytes, to: asyncio.StreamWriter, *, request: bool
    ) -> bool:
        armed = self._proxy.choose(name, len(message), request=request)
        if armed is None:
            to.write(message)
            return True
        half = len(message) // 2 if armed.point.where in _HALVES else 0
        if half:
            to.write(message[:half])
            await to.drain()
        if armed.point.delay_s is None:
            self.cut()
            self._proxy.note(armed, self._number)
            return False
        self._proxy.note(armed, self._number)
        await asyncio.sleep(armed.point.delay_s)
        to.write(message[half:])
        return True

    def cut(self) -> None:
        """Reset both sides at once; twice is fine."""
        for _, writer in filter(None, (self._client, self._redis)):
            if not writer.transport.is_closing():
                _reset(writer)
                writer.transport.abort()


def _reset(writer: asyncio.StreamWriter) -> None:
    """Let the end be a reset, not a farewell; a unix socket knows no difference."""
    plain = writer.get_extra_info("socket")
    if plain.family != socket.AF_UNIX:
        plain.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)


async def _connect(upstream: str) -> _Streams:
    parts = urlsplit(upstream)
    if parts.scheme == "unix":
        return await asyncio.open_unix_connection(parts.path, limit=_CHUNK)
    return await asyncio.open_connection(parts.hostname, parts.port or 6379, limit=_CHUNK)
