"""A receiver of webhooks at the address that stands in the golden data, always the same."""

from __future__ import annotations

import json
import threading
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any

from headrace.chaos.listening import Listening

#: Not 127.0.0.1, where some other program may have the port.
ADDRESS = ("127.83.71.9", 21947)
URL = f"http://{ADDRESS[0]}:{ADDRESS[1]}"


@dataclass(frozen=True, slots=True)
class Told:
    """One call that was answered with 200."""

    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> dict[str, Any]:
        """What it says."""
        return dict(json.loads(self.body))


class Receiver(Listening):
    """Takes everything, but while it is `busy`: then `/later` is 503 and `/never` hangs."""

    def __init__(self, *, busy: bool = False) -> None:
        self.busy = busy
        self.told: list[Told] = []
        self.hanging = 0
        self.over = threading.Event()
        super().__init__(_Server(self))

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.over.set()
        super().__exit__(kind, error, trace)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, receiver: Receiver) -> None:
        super().__init__(ADDRESS, _Handler)
        self.receiver = receiver

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A sender that was killed in the middle of a call is no error of ours."""


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_POST(self) -> None:
        receiver = self.server.receiver
        body = self.rfile.read(int(self.headers["content-length"]))
        if receiver.busy and self.path == "/never":
            receiver.hanging += 1
            receiver.over.wait()
            return
        late = receiver.busy and self.path == "/later"
        if not late:
            named = {name.lower(): value for name, value in self.headers.items()}
            receiver.told.append(Told(named, body))
        self.send_response(503 if late else 200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
