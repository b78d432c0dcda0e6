"""Whose disk is looked at: only that of a Redis which really is on this machine."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis.asyncio import Redis

from jobs.connection import RedisConnections
from jobs.room import RoomReader
from tests.conftest import RedisServer
from tests.redis_nodes import DURABLE, Server


@pytest.fixture
def server() -> Iterator[Server]:
    with Server(*DURABLE) as running:
        yield running


def tells(monkeypatch: pytest.MonkeyPatch, folder: Path, **info: int | str) -> None:
    """Let Redis name another folder, and other things of itself, as one in a container does."""
    config_get, real_info = Redis.config_get, Redis.info

    async def config(self: Redis, *names: str) -> dict[str, str]:
        return {**await config_get(self, *names), "dir": str(folder)}

    async def told(self: Redis, *sections: str) -> dict[str, object]:
        return {**await real_info(self, *sections), **info}

    monkeypatch.setattr(Redis, "config_get", config)
    monkeypatch.setattr(Redis, "info", told)


async def sees_disk(url: str) -> bool:
    async with RedisConnections(url) as connections:
        [room] = await RoomReader(connections).read()
    return room.disk is not None


def url_of(server: Server) -> str:
    return f"redis://127.0.0.1:{server.port}"


async def test_the_disk_of_a_redis_here_is_seen(server: Server, own_redis: RedisServer) -> None:
    assert await sees_disk(url_of(server))
    assert await sees_disk(own_redis.url)


async def test_a_folder_that_only_has_the_same_name_is_not_looked_at(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tells(monkeypatch, tmp_path)
    assert not await sees_disk(url_of(server))
    # A container's first process is not this machine's.
    tells(monkeypatch, tmp_path, process_id=1, executable="/data/redis-server")
    assert not await sees_disk(url_of(server))
    # The log is seen there, whatever its process is called.
    shutil.copytree(server.folder / "appendonlydir", tmp_path / "appendonlydir")
    assert await sees_disk(url_of(server))


async def test_a_redis_whose_log_is_closed_to_us_is_known_by_its_process(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("jobs.room._is_file", lambda path: False)
    assert await sees_disk(url_of(server))
    tells(monkeypatch, server.folder, process_id=os.getpid())
    assert not await sees_disk(url_of(server))


async def test_what_redis_leaves_out_bounds_nothing(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Redis.info

    async def little(self: Redis, *sections: str) -> dict[str, object]:
        return {"maxmemory": (await told(self, *sections))["maxmemory"] or 100}

    monkeypatch.setattr(Redis, "info", little)
    async with RedisConnections(url_of(server)) as connections:
        [room] = await RoomReader(connections).read()
    assert (room.memory, room.memory_limit, room.disk) == (0, None, None)
    assert not room.write_failed


async def test_a_disk_that_tells_only_zeros_is_unknown(
    own_redis: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda path: os.statvfs_result((4096, 4096, *[0] * 9)))
    assert not await sees_disk(own_redis.url)
