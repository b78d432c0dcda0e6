"""A receiver of webhooks that keeps its own book of what it was sent, and fails now and then."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import os
import random
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import TracebackType
from typing import Any

from headrace.chaos.listening import Listening

#: Signs what a campaign's jobs are told of; known to its client and its receiver alone.
SECRET = "a campaign signs with this"
_LARGEST = 1 << 20

Verify = Callable[[dict[str, str], bytes], bool]


class Receiver(Listening):
    """One URL on loopback. A share `fails` of the calls is answered 503, or taken and cut off.

    `verified` says whether headers and raw body are what they must be; until `opens_at` (Unix
    time) every call is answered 503.
    """

    def __init__(
        self,
        book: Path,
        *,
        seed: int = 0,
        fails: float = 0.0,
        opens_at: float = 0.0,
        verified: Verify | None = None,
    ) -> None:
        self._verified = verified or signed
        self.opens_at = opens_at
        self._file = os.open(book, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        self._dice = random.Random(f"receiver-{seed}")
        self._fails = fails
        self._lock = threading.Lock()
        self._closed = False
        #: webhook-id -> when it was taken (Unix time)
        self.came: dict[str, float] = {}
        #: webhook-id -> (type, job or batch, its status) of each event that was taken
        self.events: dict[str, tuple[str, str, str]] = {}
        #: jobs whose end was told
        self.told: set[str] = set()
        #: what must not be: a wrong signature, one id for two events
        self.wrong: list[str] = []
        self.calls = 0
        super().__init__(_Server(self))

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"{self.origin}/hook"

    def webhook(self) -> dict[str, Any]:
        """What a submit says to have its end told here."""
        return {"url": self.url, "secret": SECRET}

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        super().__exit__(kind, error, trace)
        # A call may still be in its thread: the number of the file is soon another's.
        with self._lock:
            self._closed = True
            os.close(self._file)

    def take(self, headers: dict[str, str], body: bytes) -> str:
        """Write down what came; say what to do: answer `ok`, answer `error`, or `cut`."""
        with self._lock:
            self.calls += 1
            fate = self._dice.random()
            if self._closed or fate < self._fails / 2 or time.time() < self.opens_at:
                return "error"
            identifier = headers.get("webhook-id", "")
            if not self._verified(headers, body):
                self.wrong.append(f"{identifier}: its signature is wrong")
            event = json.loads(body)
            data = event["data"]
            what = (event["type"], data["id"], data.get("status", ""))
            self.came.setdefault(identifier, time.time())
            if self.events.setdefault(identifier, what) != what:
                self.wrong.append(f"{identifier}: {what} and {self.events[identifier]}")
            self.told.add(data["id"])
            line = json.dumps({"id": identifier, "type": what[0], "of": what[1]})
            os.write(self._file, line.encode() + b"\n")
            # It was taken; the sender cannot know.
            return "cut" if fate < self._fails else "ok"


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 256

    def __init__(self, receiver: Receiver) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.receiver = receiver

    def handle_error(self, request: Any, client_address: Any) -> None:
        """A sender that was killed in the middle of a call is no error of ours."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server
    # Unbuffered, headers and body would be two packets, and the second would wait for an ack.
    wbufsize = -1

    def do_POST(self) -> None:
        length = min(int(self.headers.get("content-length", 0)), _LARGEST)
        body = self.rfile.read(length)
        if len(body) < length:
            return
        named = {name.lower(): value for name, value in self.headers.items()}
        verdict = self.server.receiver.take(named, body)
        if verdict == "cut":
            self.close_connection = True
            return
        self.send_response(200 if verdict == "ok" else 503)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""


def signed(headers: dict[str, str], body: bytes) -> bool:
    """Whether it is signed with the campaign's secret."""
    text = f"{headers.get('webhook-id')}.{headers.get('webhook-timestamp')}.".encode() + body
    digest = hmac.new(SECRET.encode(), text, hashlib.sha256).digest()
    wanted = "v1," + base64.b64encode(digest).decode()
    return wanted in headers.get("webhook-signature", "").split(" ")
