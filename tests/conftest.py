"""A real redis-server for every test that asks for one, on a unix socket of its own."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import redis

from headrace.embedded_redis import find_server
from headrace.log_tail import cut_torn_transaction


@dataclass
class RedisServer:
    """A running server: its URL, its process, and how to start it again on the same data."""

    url: str
    command: list[str]
    process: subprocess.Popen[bytes]

    def start(self) -> None:
        """Start it (again) and wait until it answers."""
        cut_torn_transaction(Path(self.command[self.command.index("--dir") + 1]))
        self.process = subprocess.Popen(self.command, stdout=subprocess.DEVNULL)
        deadline = time.monotonic() + 30
        while True:
            try:
                redis.Redis.from_url(self.url).ping()
            except redis.RedisError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(0.02)
            else:
                return

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.kill()
        self.process.wait()


def launch(folder: Path) -> RedisServer:
    """Start a server with the settings that Headrace starts its own with."""
    socket = folder / "r.sock"
    command = [find_server().path, "--port", "0", "--unixsocket", str(socket), "--save", ""]
    command += ["--dir", str(folder), "--appendonly", "yes", "--appendfsync", "always"]
    command += ["--maxmemory-policy", "noeviction", "--daemonize", "no", "--loglevel", "warning"]
    server = RedisServer(f"unix://{socket}", command, subprocess.Popen(["true"]))
    server.process.wait()
    server.start()
    return server


@pytest.fixture(scope="session")
def redis_server() -> Iterator[RedisServer]:
    """One server for the session; a test that kills it launches its own instead."""
    # Not pytest's folder: a unix socket's path has room for 107 characters.
    folder = Path(tempfile.mkdtemp(prefix="hr-"))
    server = launch(folder)
    yield server
    server.kill()
    shutil.rmtree(folder)


@pytest.fixture
def redis_url(redis_server: RedisServer) -> str:
    """The session's server, emptied."""
    with redis.Redis.from_url(redis_server.url) as client:
        client.flushall()
    return redis_server.url


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """A server that the test may kill and start again."""
    folder = Path(tempfile.mkdtemp(prefix="hr-"))
    server = launch(folder)
    yield server
    server.kill()
    shutil.rmtree(folder)
