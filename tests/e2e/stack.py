"""Real Headrace processes on loopback, started for a test and ended by the pids it started."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from headrace.embedded_redis import find_server

ROOT = Path(__file__).resolve().parents[2]
MODELS = Path(__file__).resolve().parent / "models"
EXAMPLES = ROOT / "examples"
FINAL = {"succeeded", "failed", "canceled", "expired", "timed_out"}

Answer = TypeVar("Answer")


def free_port() -> int:
    """Return a loopback port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(ask: Callable[[], Answer], seconds: float = 20.0, what: str = "") -> Answer:
    """Ask until the answer is true, and return it."""
    end = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s: {what}; last: {answer!r}")
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    """Return the pids of a process's children."""
    try:
        tasks = list(Path("/proc", str(pid), "task").iterdir())
        return [int(each) for task in tasks for each in (task / "children").read_text().split()]
    except OSError:
        return []


def tree(pid: int) -> list[int]:
    """Return a pid and every pid below it."""
    return [pid, *(each for child in children(pid) for each in tree(child))]


class Process:
    """One process of ours, its output in a file."""

    def __init__(self, command: Sequence[str], log: Path, environment: dict[str, str]) -> None:
        self._command = list(command)
        self._environment = environment
        self.log = log
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it, or start it again."""
        ours = {key: value for key, value in os.environ.items() if not key.startswith("HEADRACE_")}
        with self.log.open("ab") as output:
            self._running = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**ours, **self._environment},
                cwd=self.log.parent,
            )
        return self

    @property
    def pid(self) -> int:
        """The pid of the present life."""
        assert self._running is not None
        return self._running.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended, None while it runs."""
        return None if self._running is None else self._running.poll()

    def engine(self) -> int:
        """The pid of a worker's engine, once there is one."""
        return until(lambda: children(self.pid), what=f"a child of {self._command}")[-1]

    def signal(self, number: int) -> None:
        """Send a signal to it alone."""
        assert self._running is not None
        self._running.send_signal(number)

    def kill(self) -> None:
        """End it at once, as a power cut would."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()

    def stop(self, seconds: float = 20.0) -> int:
        """Ask it to end, as an init system does; return its exit code."""
        if self._running is None:
            return 0
        self.signal(signal.SIGTERM)
        try:
            return self._running.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def said(self) -> str:
        """Everything it has printed."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""


class Stack:
    """A Redis, any number of APIs and workers, and one folder for all they write."""

    def __init__(self, **settings: str) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="hr-e2e-"))
        self.redis_url = f"unix://{self.folder}/r.sock"
        self._settings = settings
        self._processes: list[Process] = []
        self._clients: list[httpx.Client] = []
        self.redis = self._process("redis", self._redis_command())

    def __enter__(self) -> Self:
        self.redis.start()
        until(self.redis_answers, what="redis-server")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for client in self._clients:
            client.close()
        for process in reversed(self._processes):
            process.kill()
        if "KEEP_E2E_LOGS" not in os.environ:
            shutil.rmtree(self.folder)

    def _redis_command(self) -> list[str]:
        command = [find_server().path, "--port", "0", "--unixsocket", f"{self.folder}/r.sock"]
        command += ["--dir", str(self.folder), "--save", "", "--appendonly", "yes"]
        return [*command, "--appendfsync", "always", "--maxmemory-policy", "noeviction"]

    def redis_answers(self) -> bool:
        """Whether Redis is up."""
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(2)
                client.connect(f"{self.folder}/r.sock")
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def _process(
        self, name: str, command: Sequence[str], settings: dict[str, str] | None = None
    ) -> Process:
        named = {"HEADRACE_" + key.upper(): value for key, value in (settings or {}).items()}
        # Each process starts in the stack's folder: what it must not import by luck is not there.
        environment = {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1", **named}
        log = self.folder / f"{len(self._processes):02}-{name}.log"
        process = Process(command, log, environment)
        self._processes.append(process)
        return process

    def _common(self, settings: dict[str, str]) -> dict[str, str]:
        return {"redis_url": self.redis_url, "log_format": "json", **self._settings, **settings}

    def api(self, **settings: str) -> Api:
        """Start an API and wait until it answers."""
        port = free_port()
        named = self._common({"api_host": "127.0.0.1", "api_port": str(port), **settings})
        process = self._process("api", [sys.executable, "-P", "-m", "api"], named).start()
        api = Api(f"http://127.0.0.1:{port}", process)
        self.keep(api)
        until(lambda: api.status("/livez") == 200 or process.exit_code is not None, what="the API")
        if process.exit_code is not None:
            raise RuntimeError(f"the API ended with {process.exit_code}: {process.said()}")
        return api

    def worker(self, model: Path, *, python: str = sys.executable, **settings: str) -> Process:
        """Start a worker; `ready` waits for its model."""
        named = self._common({"device": "cpu", **settings})
        command = [python, "-P", "-m", "worker", str(model)]
        return self._process(f"worker-{model.name}", command, named).start()

    def run(self, name: str, *command: str, **settings: str) -> Process:
        """Start any other module of ours, as `python -m`."""
        return self._process(name, [sys.executable, "-m", *command], settings).start()

    def keep(self, api: Api) -> None:
        """Close this API's connections with the stack."""
        self._clients.append(api.http)


class Api:
    """One API as seen with one key, and what tests ask of it."""

    def __init__(self, url: str, process: Process, *, http: httpx.Client | None = None) -> None:
        self.url = url
        self.process = process
        self.http = http or httpx.Client(base_url=url, timeout=70)
        self._headers: dict[str, str] = {}

    def with_key(self, key: str | None) -> Api:
        """Return the same API as seen with another key, or with none."""
        other = Api(self.url, self.process, http=self.http)
        other._headers = {"Authorization": f"Bearer {key}"} if key else {}
        return other

    def call(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **given: Any
    ) -> httpx.Response:
        """Send any request."""
        return self.http.request(
            method, path, headers={**self._headers, **(headers or {})}, **given
        )

    def status(self, path: str) -> int:
        """Return the status of a GET, 0 when nobody answers."""
        try:
            return self.call("GET", path).status_code
        except httpx.TransportError:
            return 0

    def ready(self, *models: str, seconds: float = 60.0) -> None:
        """Wait until each model has a ready worker."""
        for model in models:
            path = f"/healthz?model={model}"
            until(lambda path=path: self.status(path) == 200, seconds, path)

    def post(
        self, model: str, given: Any, *, headers: dict[str, str] | None = None, **options: Any
    ) -> httpx.Response:
        """Submit, and return the answer as it is."""
        body = {"input": given, **options}
        return self.call("POST", f"/v1/models/{model}/jobs", json=body, headers=headers)

    def submit(self, model: str, given: Any, **options: Any) -> dict[str, Any]:
        """Submit, and return the accepted job."""
        answer = self.post(model, given, **options)
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def get(self, job_id: str, wait: float | None = None) -> dict[str, Any]:
        """Read a job; with `wait`, once it is final or time is over."""
        asked = {"wait": wait} if wait is not None else {}
        answer = self.call("GET", f"/v1/jobs/{job_id}", params=asked)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def cancel(self, job_id: str) -> httpx.Response:
        """Ask for the end of a job."""
        return self.call("POST", f"/v1/jobs/{job_id}/cancel")

    def finished(self, job_id: str, seconds: float = 30.0) -> dict[str, Any]:
        """Read a job until it is final."""

        def final() -> dict[str, Any] | None:
            job = self.get(job_id, wait=2)
            return job if job["status"] in FINAL else None

        return until(final, seconds, f"{job_id} is final") or {}

    def run(self, model: str, given: Any, **options: Any) -> dict[str, Any]:
        """Submit and wait for the outcome."""
        return self.finished(self.submit(model, given, **options)["id"])

    def reaches(self, job_id: str, status: str, seconds: float = 15.0) -> dict[str, Any]:
        """Wait until a job shows a status that may pass."""

        def there() -> dict[str, Any] | None:
            job = self.get(job_id)
            return job if job["status"] == status else None

        return until(there, seconds, f"{job_id} is {status}") or {}
