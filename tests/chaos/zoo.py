"""Receivers that misbehave in every way, on one loop of their own."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import socket
import ssl
import struct
import subprocess
import threading
import time
import zlib
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Future
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

#: What a receiver that asks to be left alone says: seconds, a thousandth of them where delays are.
RETRY_AFTER_S = 2000
FAILS_FIRST = 4
#: Bytes that an endless answer stops at, had anybody read them.
ENDLESS = 1_000_000_000

Answer = Callable[["Visit"], Awaitable[None]]


class Visit:
    """One call: what came, and how to answer."""

    def __init__(self, zoo: Zoo, body: bytes, headers: dict[str, str], out: asyncio.StreamWriter):
        self.zoo, self.body, self.headers, self.out = zoo, body, headers, out
        self.id = headers.get("webhook-id", "")

    async def say(self, status: int, *lines: str, body: bytes = b"") -> None:
        """Answer with a status."""
        head = [f"HTTP/1.1 {status} X", *lines, f"Content-Length: {len(body)}", "", ""]
        self.out.write("\r\n".join(head).encode() + body)
        await self.out.drain()


class Zoo:
    """One port for each kind; `calls` has the time of each call by kind and webhook-id."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.ports: dict[str, int] = {}
        self.calls: defaultdict[str, defaultdict[str, list[float]]] = defaultdict(
            lambda: defaultdict(list)
        )
        #: job -> seconds from its end to the first call, of the healthy one.
        self.late: dict[str, float] = {}
        self.sent = 0
        self._stop = asyncio.Event()
        self._serving: Future[None] | None = None

    def url(self, kind: str) -> str:
        """Where that receiver is."""
        scheme = "https" if kind == "tls" else "http"
        return f"{scheme}://127.0.0.1:{self.ports[kind]}/{kind}"

    def __enter__(self) -> Self:
        _packed()
        self._thread.start()
        ready: Future[None] = Future()
        self._serving = asyncio.run_coroutine_threadsafe(self._serve(ready), self._loop)
        ready.result(20)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        if self._serving is not None:
            self._serving.result(20)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    async def _serve(self, ready: Future[None]) -> None:
        async with contextlib.AsyncExitStack() as stack:
            for kind, answer in KINDS.items():
                tls = self._certificate() if kind == "tls" else None
                self.ports[kind] = await stack.enter_async_context(
                    _listening(self, kind, answer, tls)
                )
            ready.set_result(None)
            await self._stop.wait()

    def _certificate(self) -> ssl.SSLContext:
        key, cert = self._folder / "zoo.key", self._folder / "zoo.pem"
        command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        command += ["-subj", "/CN=zoo.test", "-keyout", str(key), "-out", str(cert)]
        subprocess.run(command, check=True, capture_output=True)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        return context


@contextlib.asynccontextmanager
async def _listening(
    zoo: Zoo, kind: str, answer: Answer, tls: ssl.SSLContext | None
) -> AsyncIterator[int]:
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        task.add_done_callback(tasks.discard)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            while True:
                await answer(await _visit(zoo, kind, reader, writer))
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _visit(
    zoo: Zoo, kind: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
) -> Visit:
    head = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")[1:-2]
    headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in head)}
    body = await reader.readexactly(int(headers["content-length"]))
    visit = Visit(zoo, body, headers, writer)
    zoo.calls[kind][visit.id].append(time.time())
    return visit


async def _healthy(visit: Visit) -> None:
    data = json.loads(visit.body)
    ended = datetime.fromisoformat(data["timestamp"]).timestamp()
    visit.zoo.late.setdefault(data["data"]["id"], time.time() - ended)
    await visit.say(200)


async def _fails_first(visit: Visit) -> None:
    tries = len(visit.zoo.calls["fails_first"][visit.id])
    await visit.say(500 if tries <= FAILS_FIRST else 200, body=b"no")


async def _slow_down(visit: Visit) -> None:
    if len(visit.zoo.calls["slow_down"][visit.id]) == 1:
        await visit.say(429, f"Retry-After: {RETRY_AFTER_S}")
    else:
        await visit.say(200)


async def _redirects(visit: Visit) -> None:
    # To the healthy one: were it followed, that one would have been called twice.
    await visit.say(302, f"Location: {visit.zoo.url('healthy')}")


async def _hangs(visit: Visit) -> None:
    await asyncio.sleep(3600)


async def _drips(visit: Visit) -> None:
    for letter in b"HTTP/1.1 200 OK" * 100:
        visit.out.write(bytes([letter]))
        await visit.out.drain()
        await asyncio.sleep(0.2)


async def _endless(visit: Visit) -> None:
    visit.out.write(f"HTTP/1.1 200 OK\r\nContent-Length: {ENDLESS}\r\n\r\n".encode())
    piece = b"x" * 65536
    while visit.zoo.sent < ENDLESS:
        visit.out.write(piece)
        await visit.out.drain()
        visit.zoo.sent += len(piece)


@functools.cache
def _packed() -> bytes:
    """64 MiB in 64 KiB; made before the clock runs, or the healthy one would wait for it."""
    packer = zlib.compressobj(9, wbits=31)
    return b"".join(packer.compress(bytes(1 << 20)) for _ in range(64)) + packer.flush()


async def _bomb(visit: Visit) -> None:
    await visit.say(200, "Content-Encoding: gzip", body=_packed())


async def _resets(visit: Visit) -> None:
    # A close with this option is a reset.
    linger = struct.pack("ii", 1, 0)
    visit.out.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    visit.out.close()
    raise asyncio.IncompleteReadError(b"", None)


async def _gone(visit: Visit) -> None:
    await visit.say(410)


#: Kind -> what it does.
KINDS: dict[str, Answer] = {
    "healthy": _healthy,
    "fails_first": _fails_first,
    "gone": _gone,
    "slow_down": _slow_down,
    "redirects": _redirects,
    "hangs": _hangs,
    "drips": _drips,
    "endless": _endless,
    "bomb": _bomb,
    "tls": _healthy,
    "resets": _resets,
}
