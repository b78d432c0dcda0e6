"""One who operates a Headrace with a shell, and what there is for him to see."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from headrace.chaos.listening import Listening
from headrace.chaos.process import free_port, until
from headrace.chaos.stack import CODE, Api, Stack


class Shell:
    """Commands one after the other; what one exports, the next ones have."""

    def __init__(self, stack: Stack, folder: Path, **variables: str) -> None:
        self.folder = folder
        self._stack = stack
        folder.mkdir(exist_ok=True)
        tools = stack.folder / "tools"
        tools.mkdir()
        (tools / "headrace").write_text(f'#!/bin/sh\nexec {sys.executable} -m headrace "$@"\n')
        (tools / "headrace").chmod(0o755)
        path = f"{tools}:{Path(sys.executable).parent}:{os.environ['PATH']}"
        self._plain = {"PATH": path, "PYTHONPATH": str(CODE)}
        ours = {key: value for key, value in os.environ.items() if not key.startswith("HEADRACE_")}
        self._environment = {**ours, **self._plain, **variables}
        self._exported = stack.folder / "exported.sh"

    def run(self, command: str) -> str:
        """Run it and return what it printed; an exit code that is not 0 is an error."""
        done = self.tried(command)
        assert done.returncode == 0, (command, done.stdout, done.stderr)
        return done.stdout

    def tried(self, command: str) -> subprocess.CompletedProcess[str]:
        """Run it, whatever comes of it."""
        before = f"set -euo pipefail\n[ ! -e {self._exported} ] || . {self._exported}\n"
        return subprocess.run(
            ["bash", "-c", f"{before}{command}\nexport -p > {self._exported}"],
            cwd=self.folder,
            env=self._environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def up(self, command: str, **settings: str) -> Api:
        """Start a `headrace up`, which has nothing but its own Redis; return its API."""
        port = free_port()
        named = {"HEADRACE_" + key.upper(): value for key, value in settings.items()}
        given = {**self._plain, "HEADRACE_API_PORT": str(port), "HEADRACE_LOG_FORMAT": "json"}
        words = ["bash", "-c", f"cd {self.folder} && exec {command}"]
        process = self._stack.process("up", words, given | named).start()
        api = Api(f"http://127.0.0.1:{port}", process)
        self._stack.keep(api)
        until(lambda: api.status("/healthz") == 200 or not process.running, 120, command)
        assert process.running, process.said()
        return api


class Gone(Listening):
    """A receiver of webhooks that answers 410, until it is told to be back."""

    def __init__(self) -> None:
        self.status = 410
        #: jobs whose end it has taken
        self.told: set[str] = set()
        super().__init__(_Server(self))

    @property
    def url(self) -> str:
        return f"{self.origin}/hook"


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, receiver: Gone) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.receiver = receiver


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: _Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        status = self.server.receiver.status
        if status == 200:
            self.server.receiver.told.add(json.loads(body)["data"]["id"])
        self.send_response(status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Say nothing."""
