"""A Redis of the simulation's own: nothing is kept, so nothing is written to disk."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from headrace.embedded_redis import find_server

from .draws import CHANNEL
from .wire import Wire


@pytest.fixture(scope="session")
def redis_socket() -> Iterator[Path]:
    """Start a server for the session; return the path of its socket."""
    folder = Path(tempfile.mkdtemp(prefix="hr-sim-"))
    path = folder / "r.sock"
    command = [find_server().path, "--port", "0", "--unixsocket", str(path), "--save", ""]
    command += ["--dir", str(folder), "--appendonly", "no", "--loglevel", "warning"]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    until = time.monotonic() + 20
    while True:
        try:
            redis.Redis.from_url(f"unix://{path}").ping()
        except redis.RedisError:
            assert time.monotonic() < until, "redis-server did not start"
            time.sleep(0.02)
        else:
            break
    yield path
    process.kill()
    process.wait()
    shutil.rmtree(folder)


@pytest.fixture
def wire(redis_socket: Path) -> Iterator[Wire]:
    """Connect to it, with the scripts as they are."""
    wire = Wire(redis_socket)
    yield wire
    wire.close()


@pytest.fixture
def ear(redis_socket: Path) -> Iterator[Wire]:
    """Connect once more, as a process that waits for jobs."""
    ear = Wire(redis_socket)
    ear.call("SUBSCRIBE", CHANNEL)
    yield ear
    ear.close()
