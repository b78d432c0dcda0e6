"""Keep-alive HTTP/1.1 over epoll: cheap enough that the client is never what is measured."""

from __future__ import annotations

import select
import socket
import time
from dataclasses import dataclass, field
from typing import Protocol

#: Seconds a parked connection sleeps before its source is asked again.
PARK_S = 0.002
#: With many connections answers are collected this long, so that one wake-up serves several.
GATHER_S = 0.001
#: From so many connections on a server always has work left while the client sleeps.
MANY = 16
#: Seconds without any answer after which a run is given up.
SILENCE_S = 90.0
#: One inbox for all connections: a fresh 256 KiB buffer per read costs more than the request.
_INBOX = memoryview(bytearray(1 << 18))


@dataclass(slots=True)
class Answer:
    """One HTTP response and how long it took."""

    status: int
    body: bytes
    seconds: float


class Source(Protocol):
    """Says what a connection sends next and takes what comes back."""

    def next_request(self) -> bytes | None:
        """Return the next request, or None while there is nothing to send."""

    def take(self, answer: Answer) -> None:
        """Receive the answer to the oldest request of this connection."""

    @property
    def finished(self) -> bool:
        """True once nothing will be sent any more."""


def encode(
    method: str, path: str, body: bytes = b"", headers: dict[str, str] | None = None
) -> bytes:
    """Render one request; a body is sent as JSON."""
    lines = [f"{method} {path} HTTP/1.1", "Host: 127.0.0.1"]
    if body:
        lines += ["Content-Type: application/json", f"Content-Length: {len(body)}"]
    lines += [f"{name}: {value}" for name, value in (headers or {}).items()]
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


@dataclass(slots=True)
class _Connection:
    socket: socket.socket
    source: Source
    buffer: bytearray = field(default_factory=bytearray)
    need: int = 0
    head_end: int = 0
    sent_at: float = 0.0
    busy: bool = False

    def send_next(self) -> None:
        request = self.source.next_request()
        self.busy = request is not None
        if request is None:
            return
        self.sent_at = time.perf_counter()
        sent = self.socket.send(request)
        if sent < len(request):
            self.socket.setblocking(True)
            self.socket.sendall(request[sent:])
            self.socket.setblocking(False)

    def receive(self) -> Answer | None:
        """Read what is there; return an answer once it is whole."""
        count = self.socket.recv_into(_INBOX)
        if not count:
            raise ConnectionError("the server closed the connection")
        self.buffer += _INBOX[:count]
        if not self.need and not self._read_head():
            return None
        if len(self.buffer) < self.need:
            return None
        seconds = time.perf_counter() - self.sent_at
        answer = Answer(
            int(self.buffer[9:12]), bytes(self.buffer[self.head_end : self.need]), seconds
        )
        del self.buffer[: self.need]
        self.need = 0
        return answer

    def _read_head(self) -> bool:
        end = self.buffer.find(b"\r\n\r\n")
        if end < 0:
            return False
        head = bytes(self.buffer[: end + 2]).lower()
        mark = head.find(b"\r\ncontent-length:")
        length = int(head[mark + 17 : head.find(b"\r\n", mark + 17)]) if mark >= 0 else 0
        self.head_end = end + 4
        self.need = self.head_end + length
        return True


class Driver:
    """Runs every connection's source until all are finished."""

    def __init__(self, host: str, port: int, sources: list[Source]) -> None:
        self._address = (host, port)
        self._sources = sources

    def run(self) -> float:
        """Drive the sources; return the seconds from the first byte to the last answer."""
        poll = select.epoll()
        connections = {}
        for source in self._sources:
            connection = _Connection(self._connect(), source)
            connections[connection.socket.fileno()] = connection
        try:
            return self._drive(poll, connections)
        finally:
            poll.close()
            for connection in connections.values():
                connection.socket.close()

    def _connect(self) -> socket.socket:
        made = socket.create_connection(self._address, timeout=10)
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        made.setblocking(False)
        return made

    def _drive(self, poll: select.epoll, connections: dict[int, _Connection]) -> float:
        began = heard = time.perf_counter()
        for number, connection in connections.items():
            connection.send_next()
            if connection.busy:
                poll.register(number, select.EPOLLIN)
        parked = [c for c in connections.values() if not c.busy]
        gather = GATHER_S if len(connections) >= MANY else 0.0
        while parked or any(c.busy for c in connections.values()):
            time.sleep(gather)
            for number, _ in poll.poll(PARK_S if parked else 1.0):
                connection = connections[number]
                if not self._answered(connection):
                    continue
                heard = time.perf_counter()
                if not connection.busy:
                    parked.append(connection)
                    # A server closes what idles: unwatched, that does not look like an error.
                    poll.unregister(number)
            for connection in parked:
                connection.send_next()
                if connection.busy:
                    poll.register(connection.socket.fileno(), select.EPOLLIN)
            parked = [c for c in parked if not c.busy and not c.source.finished]
            if time.perf_counter() - heard > SILENCE_S:
                raise TimeoutError(f"no answer for {SILENCE_S:.0f} s")
        return heard - began

    @staticmethod
    def _answered(connection: _Connection) -> bool:
        answer = connection.receive()
        if answer is None:
            return False
        connection.source.take(answer)
        connection.send_next()
        return True
