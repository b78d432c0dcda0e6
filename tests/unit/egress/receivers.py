"""Receivers of every kind on the loopback: they count what reaches them, and answer as told."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field


@dataclass
class Receiver:
    """What one listener has seen."""

    port: int = 0
    connections: int = 0
    #: Connections that the caller ended.
    ended: int = 0
    open: int = 0
    most_open: int = 0
    requests: list[bytes] = field(default_factory=list)
    names: list[str | None] = field(default_factory=list)
    sent: int = 0


LARGE = b"HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

Answering = Callable[[asyncio.StreamReader, asyncio.StreamWriter, Receiver], Awaitable[None]]


@contextlib.asynccontextmanager
async def receiving(
    answer: Answering, *, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None
) -> AsyncIterator[Receiver]:
    """Listen until the block ends; `answer` has each connection, once its request is there."""
    receiver = Receiver()
    tasks: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        receiver.connections += 1
        receiver.open += 1
        receiver.most_open = max(receiver.most_open, receiver.open)
        with contextlib.suppress(OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await answer(reader, writer, receiver)
        receiver.open -= 1
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()

    if tls is not None:
        tls.sni_callback = lambda _socket, name, _context: receiver.names.append(name)
    server = await asyncio.start_server(serve, host, 0, ssl=tls)
    receiver.port = server.sockets[0].getsockname()[1]
    try:
        yield receiver
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def request(reader: asyncio.StreamReader, receiver: Receiver) -> None:
    """Read one request; an IncompleteReadError where the caller is gone."""
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except (asyncio.IncompleteReadError, ConnectionError):
        receiver.ended += 1
        raise
    fields = dict(line.split(b": ", 1) for line in head.split(b"\r\n")[1:-2])
    body = await reader.readexactly(int(fields[b"Content-Length"]))
    receiver.requests.append(head + body)


def always(answer: bytes) -> Answering:
    """Give the same bytes for each request of a connection."""

    async def run(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, receiver: Receiver
    ) -> None:
        while True:
            await request(reader, receiver)
            writer.write(answer)

    return run


def once(answer: bytes) -> Answering:
    """Give these bytes and close."""

    async def run(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, receiver: Receiver
    ) -> None:
        await request(reader, receiver)
        writer.write(answer)
        await writer.drain()

    return run


def endless(head: bytes, piece: bytes, pause_s: float = 0) -> Answering:
    """Give a head, then the same piece for ever, counting the bytes that could be sent."""

    async def run(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter, receiver: Receiver
    ) -> None:
        await request(reader, receiver)
        writer.write(head)
        while receiver.sent < 1_000_000_000:
            writer.write(piece)
            await writer.drain()
            receiver.sent += len(piece)
            await asyncio.sleep(pause_s)

    return run


async def silent(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, receiver: Receiver
) -> None:
    """Take the request and never answer."""
    while True:
        await request(reader, receiver)


async def resetting(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, receiver: Receiver
) -> None:
    """Take the request and reset the connection."""
    await request(reader, receiver)
    raw = writer.get_extra_info("socket")
    raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))


def ok(body: bytes = b"", *fields: bytes, status: bytes = b"200 OK") -> bytes:
    """Return an answer whose length is stated."""
    head = [b"HTTP/1.1 " + status, b"Content-Length: %d" % len(body), *fields]
    return b"\r\n".join(head) + b"\r\n\r\n" + body


class Names:
    """A resolver that gives its answers in turn, and the last one for ever."""

    def __init__(self, *answers: list[str]) -> None:
        self.answers = list(answers)
        self.asked: list[str] = []

    async def resolve(self, host: str, port: int) -> list[str]:
        self.asked.append(host)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class Recorder:
    """In the place of the connector's last step: notes the address, and lets nothing out."""

    def __init__(self) -> None:
        self.addresses: list[str] = []

    def __call__(self, info: tuple[object, ...]) -> socket.socket:
        self.addresses.append(info[4][0])  # type: ignore[index]
        raise OSError(101, "Network is unreachable")
