"""A transaction that Redis was killed in never comes to life, on no later start either."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from api.reserve import worth_rewriting
from headrace.embedded_redis import find_server
from headrace.log_tail import cut_torn_transaction
from jobs.connection import RedisConnections
from jobs.room import RoomReader

MULTI = b"*1\r\n$5\r\nMULTI\r\n"
SUBMIT = "redis.call('XADD','lane',ARGV[3],'id',ARGV[1]) redis.call('SET',ARGV[1],ARGV[2])"


class Server:
    """A redis-server that is started on a log as it is."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.url = f"unix://{folder}/r.sock"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> redis.Redis:
        command = [str(find_server().path), "--port", "0", "--unixsocket", f"{self.folder}/r.sock"]
        command += ["--dir", str(self.folder), "--save", "", "--appendonly", "yes"]
        command += ["--appendfsync", "always", "--loglevel", "warning"]
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        client = redis.Redis.from_url(self.url)
        for _ in range(3000):
            try:
                client.ping()
            except redis.RedisError:
                time.sleep(0.01)
            else:
                return client
        raise TimeoutError("redis-server")

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    @property
    def log(self) -> Path:
        return max((self.folder / "appendonlydir").glob("*.incr.aof"))

    def torn(self, at: bytes) -> None:
        """Kill it, and let its log break off in the middle of these bytes."""
        self.kill()
        data = self.log.read_bytes()
        with self.log.open("r+b") as file:
            file.truncate(data.rindex(at) + len(at) // 2)


@pytest.fixture
def server() -> Iterator[Server]:
    folder = Path(tempfile.mkdtemp(prefix="hr-tail-"))
    server = Server(folder)
    yield server
    server.kill()
    shutil.rmtree(folder)


def submit(client: redis.Redis, name: str, value: bytes = b"1", entry: str = "0-1") -> None:
    client.eval(SUBMIT, 0, name, value, entry)


def lane(client: redis.Redis) -> list[bytes]:
    return [fields[b"id"] for _, fields in client.xrange("lane")]


def torn_in_a_submit(server: Server) -> None:
    client = server.start()
    client.eval("redis.call('SET','a',1) redis.call('SET','b',1)", 0)
    submit(client, "torn", b"its-value")
    server.torn(b"its-value")


def test_left_alone_it_comes_to_life_on_the_second_start(server: Server) -> None:
    """What is guarded against; a Redis that has mended it does not show it any more."""
    torn_in_a_submit(server)
    client = server.start()
    assert lane(client) == []
    submit(client, "mine")
    server.kill()
    assert lane(server.start()) in ([b"torn"], [b"mine"])


def test_cut_away_before_the_start_it_never_does(server: Server) -> None:
    torn_in_a_submit(server)
    assert cut_torn_transaction(server.folder) > 0
    client = server.start()
    submit(client, "mine")
    server.kill()
    assert cut_torn_transaction(server.folder) == 0
    client = server.start()
    assert lane(client) == [b"mine"]
    assert {b"a", b"b", b"mine", b"lane"} == set(client.keys())


async def test_a_log_that_is_rewritten_after_the_start_is_mended(server: Server) -> None:
    torn_in_a_submit(server)
    client = server.start()
    async with RedisConnections(server.url) as connections:
        reader = RoomReader(connections)
        [room] = await reader.read()
        assert room.loaded
        await reader.make_room(worth_rewriting)
        async with asyncio.timeout(30):
            while room.rewriting or room.loaded:
                await asyncio.sleep(0.02)
                [room] = await reader.read()
    submit(client, "mine")
    server.kill()
    assert lane(server.start()) == [b"mine"]


@pytest.mark.parametrize("value", [MULTI, b"x" + MULTI + MULTI, MULTI + b"*1\r\n$4\r\nEXEC\r\n"])
def test_what_only_looks_like_one_is_left_alone(server: Server, value: bytes) -> None:
    client = server.start()
    submit(client, "whole", value)
    client.set("alone", value)
    server.kill()
    before = server.log.read_bytes()
    assert cut_torn_transaction(server.folder) == 0
    assert server.log.read_bytes() == before


@pytest.mark.parametrize("at", [b"MULTI", b"XADD", b"lane", b"torn", b"its-value", b"EXEC"])
def test_wherever_it_breaks_off_all_of_it_goes(server: Server, at: bytes) -> None:
    client = server.start()
    submit(client, "first")
    size = server.log.stat().st_size
    # Longer than what is looked at first.
    submit(client, "torn", b"its-value" + b"x" * (5 << 20 if at == b"EXEC" else 0), "0-2")
    server.torn(at)
    cut_torn_transaction(server.folder)
    # A command that is torn before any transaction is open is cut by Redis itself.
    assert server.log.stat().st_size in (size, size + len(MULTI) - 5)
    client = server.start()
    assert lane(client) == [b"first"]


def test_without_a_log_there_is_nothing_to_do(tmp_path: Path) -> None:
    assert cut_torn_transaction(tmp_path) == 0
