"""A small server on loopback for the commands to talk to."""

from __future__ import annotations

import json
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from typer.testing import CliRunner, Result

from headrace.cli import app

Route = tuple[str, str]


class FakeServer(ThreadingHTTPServer):
    """Gives each route its answers in order, the last for ever; remembers what came."""

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: dict[Route, list[tuple[int, Any]]] = {}
        self.bodies: list[Any] = []
        self.headers: list[dict[str, str]] = []
        self.targets: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def on(self, method: str, path: str, *answers: tuple[int, Any]) -> None:
        self.answers[method, path] = list(answers)


class Handler(BaseHTTPRequestHandler):
    server: FakeServer
    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        length = int(self.headers.get("content-length") or 0)
        content = self.rfile.read(length)
        self.server.bodies.append(json.loads(content) if content else None)
        self.server.headers.append({k.lower(): v for k, v in self.headers.items()})
        self.server.targets.append(self.path)
        answers = self.server.answers[self.command, self.path.partition("?")[0]]
        status, body = answers.pop(0) if len(answers) > 1 else answers[0]
        raw = b"" if body is None else json.dumps(body).encode()
        self.send_response(status)
        self.send_header("content-length", str(len(raw)))
        self.end_headers()
        self.wfile.write(raw)

    do_GET = do_POST = do_DELETE = answer

    def log_message(self, *_: object) -> None:
        """Nothing in the tests' output."""


def headrace(*words: str, given: str | None = None) -> Result:
    return CliRunner().invoke(app, list(words), input=given)


def job(status: str = "queued", **members: Any) -> dict[str, Any]:
    base = {"id": "job_1", "model": "echo", "version": "1", "status": status}
    return base | {"priority": "normal", "created_at": "2026-01-01T00:00:00.000Z"} | members


def problem(code: str, **members: Any) -> dict[str, Any]:
    return {"code": code, "detail": "that is why", "retryable": False, **members}
