"""The Redis that `headrace up` starts: its settings, its folder, its lock, its data."""

from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from headrace.data_folder import DataFolder, FolderLock
from headrace.embedded_redis import RedisServer, find_server
from headrace.errors import StartRefused
from headrace.memory import memory_bytes
from headrace.up.child import Child, State
from headrace.up.commands import redis_command


@pytest.fixture
def folder() -> Iterator[DataFolder]:
    with tempfile.TemporaryDirectory(prefix="hr-") as path:
        yield DataFolder(Path(path) / "data")


async def until(true: Callable[[], object], limit_s: float = 10) -> None:
    async with asyncio.timeout(limit_s):
        while True:
            if true():
                return
            await asyncio.sleep(0.01)


def embedded(folder: DataFolder, lock: FolderLock) -> Child:
    command = redis_command(find_server(), folder, durability="always", lock=lock.fd)
    return Child(command)


async def test_it_keeps_its_data_over_a_kill(folder: DataFolder) -> None:
    with FolderLock(folder) as lock:
        child = embedded(folder, lock)
        keeping = asyncio.create_task(child.keep())
        await until(lambda: child.state is State.RUNNING)
        with redis.Redis.from_url(folder.redis_url) as client:
            client.set("key", "kept")
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        await until(lambda: child.restarts == 1 and child.state is State.RUNNING)
        with redis.Redis.from_url(folder.redis_url) as client:
            assert client.get("key") == b"kept"
        child.quit()
        await asyncio.wait_for(keeping, 10)
    assert child.ended == "exit 0"


async def test_a_ballast_lies_beside_the_data_and_is_made_again(folder: DataFolder) -> None:
    with FolderLock(folder) as lock:
        child = embedded(folder, lock)
        keeping = asyncio.create_task(child.keep())
        await until(lambda: child.state is State.RUNNING)
        about = folder.ballast.stat()
        # Real blocks: a hole would make no room.
        assert about.st_blocks * 512 >= about.st_size > 0
        folder.ballast.unlink()
        assert child.prepare() == ""
        assert folder.ballast.stat().st_size == about.st_size
        child.quit()
        await keeping


async def test_it_writes_before_it_answers_and_only_we_reach_it(folder: DataFolder) -> None:
    with FolderLock(folder) as lock:
        child = embedded(folder, lock)
        keeping = asyncio.create_task(child.keep())
        await until(lambda: child.state is State.RUNNING)
        with redis.Redis.from_url(folder.redis_url, decode_responses=True) as client:
            config = client.config_get()
        child.quit()
        await keeping
    expected = {
        "port": "0",
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "maxmemory-policy": "noeviction",
        "maxmemory-clients": "0",
    }
    assert {name: config[name] for name in expected} == expected
    # A limit, or Redis would not know when it is full; and room for the models beside it.
    assert 64 << 20 <= int(config["maxmemory"]) <= max(64 << 20, memory_bytes() // 4)
    assert stat.S_IMODE(folder.socket.parent.stat().st_mode) == 0o700
    assert stat.S_IMODE(folder.redis.stat().st_mode) == 0o700


def test_a_second_holder_is_refused_with_the_pid_of_the_first(folder: DataFolder) -> None:
    with FolderLock(folder), pytest.raises(StartRefused, match=rf"pid {os.getpid()}"):
        FolderLock(folder).__enter__()
    with FolderLock(folder):
        pass


def test_a_redis_that_outlived_its_parent_is_ended_first(folder: DataFolder) -> None:
    # A process takes the lock, hands it to a Redis, and dies without a word.
    code = f"""
import os, pathlib, subprocess
from headrace.data_folder import DataFolder, FolderLock
from headrace.embedded_redis import find_server
from headrace.up.commands import redis_command
folder = DataFolder(pathlib.Path({str(folder.path)!r}))
lock = FolderLock(folder).__enter__()
command = redis_command(find_server(), folder, durability="always", lock=lock.fd)
quiet = dict(stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
process = subprocess.Popen(command.argv, pass_fds=command.inherit, **quiet)
while not folder.socket.exists():
    pass
os._exit(1)
"""
    subprocess.run([sys.executable, "-c", code], check=False)
    with redis.Redis.from_url(folder.redis_url) as client:
        assert client.ping()
        with FolderLock(folder), pytest.raises(redis.ConnectionError):
            client.ping()


def test_the_stamp_remembers_who_wrote_the_data(folder: DataFolder) -> None:
    with FolderLock(folder):
        assert folder.written_by() is None
        newest = RedisServer(path="/x", product="redis", version=(99, 0, 1))
        folder.stamp(newest)
        found = folder.written_by()
        assert found is not None
        assert (found.product, found.version) == ("redis", (99, 0, 1))
        with pytest.raises(StartRefused, match=r"reads redis 99\.0\.1 data"):
            find_server(found)


def test_a_stamp_that_cannot_be_read_refuses(folder: DataFolder) -> None:
    with FolderLock(folder):
        (folder.redis / "server-version").write_text("who knows")
        with pytest.raises(StartRefused, match="does not say which server"):
            folder.written_by()


def test_a_socket_path_too_long_for_a_socket_is_put_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", tempfile.gettempdir())
    deep = DataFolder(tmp_path / ("x" * 100))
    assert len(os.fsencode(deep.socket)) < 104
    assert deep.socket == DataFolder(deep.path).socket
    assert deep.socket != DataFolder(deep.path / "y").socket
    with FolderLock(deep):
        assert stat.S_IMODE(deep.socket.parent.stat().st_mode) == 0o700
    deep.socket.parent.rmdir()


def test_a_socket_folder_that_is_not_ours_is_not_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "run"))
    (tmp_path / "run").mkdir()
    deep = DataFolder(tmp_path / ("x" * 100))
    (tmp_path / "elsewhere").mkdir()
    deep.socket.parent.symlink_to(tmp_path / "elsewhere")
    with pytest.raises(StartRefused, match="belongs to someone else"):
        FolderLock(deep).__enter__()


def test_a_data_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StartRefused, match="cannot be made"):
        FolderLock(DataFolder(tmp_path / "file" / "data")).__enter__()
