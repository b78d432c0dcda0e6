"""How much a Redis holds and may hold: its memory, its log, and the disk that the log is on."""

from __future__ import annotations

import contextlib
import ipaddress
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from redis import exceptions
from redis.asyncio import Redis

from jobs.connection import RedisConnections, translated


@dataclass(frozen=True, slots=True, kw_only=True)
class Disk:
    """The disk that the append-only file is on; bytes."""

    size: int
    free: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """One Redis at one moment; bytes."""

    memory: int
    #: `maxmemory`, else the machine's memory, above which the kernel kills; None where both hide.
    memory_limit: int | None
    #: What the log would shrink to if it were rewritten now: at most the data in memory.
    live: int
    #: The log, 0 where there is none.
    log: int
    rewriting: bool
    #: None where it is another machine's: Redis tells nobody how full its disk is.
    disk: Disk | None
    #: Redis could not write its log: of a disk that cannot be seen, the first that is heard.
    write_failed: bool


class RoomReader:
    """Reads how full Redis is, and asks it to make room."""

    def __init__(self, connections: RedisConnections) -> None:
        self._connections = connections
        #: The run of Redis that the folder was asked of, and its folder if it is on this machine.
        self._asked: tuple[str, Path | None] = ("", None)

    async def read(self) -> list[Room]:
        """Return how full each Redis is; raises QueueUnavailable."""
        client = self._connections.client
        with translated():
            info = await client.info("server", "memory", "persistence")
        folder = await self._folder(client, str(info["run_id"]))
        return [_room(info, folder)]

    async def rewrite(self) -> None:
        """Ask for the log to be rewritten, unless that is on its way or not allowed."""
        with translated(), contextlib.suppress(exceptions.ResponseError):
            await self._connections.client.bgrewriteaof()

    async def _folder(self, client: Redis, run: str) -> Path | None:
        if self._asked[0] != run:
            self._asked = (run, await self._find_folder(client))
        return self._asked[1]

    async def _find_folder(self, client: Redis) -> Path | None:
        if not is_here(self._connections.url):
            return None
        try:
            with translated():
                config = await client.config_get("dir", "appenddirname")
        except exceptions.ResponseError:
            # A managed Redis hides its settings.
            return None
        folder = Path(str(config.get("dir", "")))
        log = folder / str(config.get("appenddirname", ""))
        # The log's own folder may be a mount of its own, and Redis's may be closed to us.
        return next((each for each in (log, folder) if _disk(each) is not None), None)


def is_here(url: str) -> bool:
    """Whether that Redis is on this machine, as far as its address tells."""
    parts = urlsplit(url)
    if parts.scheme == "unix" or parts.hostname == "localhost":
        return True
    try:
        return ipaddress.ip_address(parts.hostname or "").is_loopback
    except ValueError:
        return False


def _room(info: dict[str, Any], folder: Path | None) -> Room:
    return Room(
        memory=info["used_memory"],
        memory_limit=info.get("maxmemory") or info.get("total_system_memory") or None,
        live=info.get("used_memory_dataset", info["used_memory"]),
        log=info.get("aof_current_size", 0),
        rewriting=bool(info.get("aof_rewrite_in_progress") or info.get("aof_rewrite_scheduled")),
        disk=None if folder is None or not info.get("aof_enabled") else _disk(folder),
        write_failed=info.get("aof_last_write_status", "ok") != "ok",
    )


def _disk(folder: Path) -> Disk | None:
    try:
        told = os.statvfs(folder)
    except OSError:
        return None
    free = told.f_bavail * told.f_frsize
    # As `df` counts: what is kept for root belongs to nobody here.
    return Disk(size=(told.f_blocks - told.f_bfree) * told.f_frsize + free, free=free)
