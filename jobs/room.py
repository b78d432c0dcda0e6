"""How much a Redis holds and may hold: its memory, its log, and the disk that the log is on."""

from __future__ import annotations

import contextlib
import ipaddress
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from redis import exceptions

from jobs.connection import Node, RedisConnections, translated
from jobs.errors import QueueUnavailable
from telemetry import logs

log = logs.get(__name__)


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
    #: It has not rewritten its log since it was started: what it loaded is still there.
    loaded: bool = False
    #: Redis could not write its log: of a disk that cannot be seen, the first that is heard.
    write_failed: bool


class RoomReader:
    """Reads how full each server is, and asks it to make room."""

    def __init__(self, connections: RedisConnections) -> None:
        self._connections = connections
        #: By address: the run of Redis that was asked for its folder, and what came of it.
        self._folders: dict[str, tuple[str | None, Path | None]] = {}
        self._rooms: dict[str, Room] = {}

    async def read(self) -> list[Room]:
        """Return how full each server is; one of several that does not answer is as it was.

        Raises QueueUnavailable.
        """
        nodes = await self._connections.masters()
        rooms: dict[str, Room] = {}
        for node in nodes:
            try:
                rooms[node.address] = await self._read(node)
            except QueueUnavailable:
                if len(nodes) == 1:
                    raise
                if node.address in self._rooms:
                    rooms[node.address] = self._rooms[node.address]
        self._rooms = rooms
        return list(rooms.values())

    async def make_room(self, worth: Callable[[Room], bool]) -> None:
        """Ask for the log to be rewritten where that is worth it and allowed."""
        for node in await self._connections.masters():
            room = self._rooms.get(node.address)
            if room is not None and worth(room):
                with translated(), contextlib.suppress(exceptions.ResponseError):
                    await node.client.bgrewriteaof()
                    log.info("log_rewrite_asked", redis=node.address, log=room.log, live=room.live)

    async def _read(self, node: Node) -> Room:
        with translated():
            info = await node.client.info("server", "memory", "persistence")
        run = str(info.get("run_id", ""))
        asked, folder = self._folders.get(node.address, (None, None))
        if asked != run:
            folder = await _find_folder(node, info)
            self._folders[node.address] = (run, folder)
        return _room(info, folder)


async def _find_folder(node: Node, info: Mapping[str, Any]) -> Path | None:
    if not is_here(node.address):
        return None
    with translated():
        try:
            config = await node.client.config_get("dir", "appenddirname", "appendfilename")
        except exceptions.ResponseError:
            # A managed Redis hides its settings.
            return None
    if not config.get("dir"):
        return None
    folder = Path(str(config["dir"]))
    inner = folder / str(config.get("appenddirname", ""))
    name = str(config.get("appendfilename", ""))
    logs_of = (inner / f"{name}.manifest", folder / name) if name else ()
    # A container's port is a loopback address too, and a folder of that name here another one.
    if not (node.address.startswith("/") or any(map(_is_file, logs_of)) or _runs_in(folder, info)):
        return None
    # The log's own folder may be a mount of its own, and Redis's may be closed to us.
    places = (inner, folder)
    return next((each for each in places if _disk(each) is not None), None)


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:
        return False


def _runs_in(folder: Path, info: Mapping[str, Any]) -> bool:
    """Whether the process that Redis says it is runs on this machine, in that folder."""
    process = Path("/proc", str(info.get("process_id", "")))
    try:
        # By what it is, not by its name: a container's folder has the same name as ours.
        return (process / "cwd").samefile(folder)
    except PermissionError:
        # Another user's; what runs under that number is still told.
        return _runs(process, str(info.get("executable", "")))
    except OSError:
        return False


def _runs(process: Path, executable: str) -> bool:
    # The kernel keeps 15 bytes of a name.
    try:
        name = (process / "comm").read_text().strip()
    except OSError:
        return False
    return name != "" and name == Path(executable).name[:15]


def is_here(address: str) -> bool:
    """Whether that server is on this machine, as far as its address tells."""
    if address.startswith("/"):
        return True
    host = address.rpartition(":")[0].strip("[]")
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _room(info: dict[str, Any], folder: Path | None) -> Room:
    # A proxy or a managed Redis may leave out any of it; what is not known bounds nothing.
    memory, size = info.get("used_memory"), info.get("aof_current_size", 0)
    limit = info.get("maxmemory") or info.get("total_system_memory") or None
    return Room(
        memory=memory or 0,
        memory_limit=None if memory is None else limit,
        live=info.get("used_memory_dataset", size if memory is None else memory),
        log=size,
        rewriting=bool(info.get("aof_rewrite_in_progress") or info.get("aof_rewrite_scheduled")),
        disk=None if folder is None or not info.get("aof_enabled") else _disk(folder),
        write_failed=info.get("aof_last_write_status", "ok") != "ok",
        loaded=bool(info.get("aof_enabled")) and info.get("aof_rewrites") == 0,
    )


def _disk(folder: Path) -> Disk | None:
    try:
        told = os.statvfs(folder)
    except OSError:
        return None
    free = told.f_bavail * told.f_frsize
    # As `df` counts: what is kept for root belongs to nobody here.
    size = (told.f_blocks - told.f_bfree) * told.f_frsize + free
    # Some file systems (FUSE, sandboxes) tell nothing but zeros.
    return Disk(size=size, free=free) if size > 0 else None
