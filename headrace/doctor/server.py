"""Redis itself: its settings, its memory and disk, its replicas, its clock."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import Any

from headrace.doctor.check import Check, Patient, error, ok, warning
from jobs.connection import Node, translated
from jobs.errors import NotDurable, WrongRedis
from jobs.room import Room, RoomReader

#: Submits are refused beyond these, so that what was accepted has room to end: the rule of
#: api/reserve.py, which this package may not import; a test holds the two together.
MEMORY_LIMIT, DISK_LIMIT = 0.70, 0.85
#: A disk need not keep back more than this, however large it is.
DISK_KEPT = 8 << 30
#: Seconds between two clocks: ids and lists are out of order; then deadlines and signatures fail.
CLOCKS_APART_S, CLOCKS_WRONG_S = 1.0, 60.0
_MANY_CLIENTS = 0.8
#: Bytes of the replication stream that a replica is behind.
_LAGGING = 16 << 20


async def settings(patient: Patient) -> list[Check]:
    """Can this Redis keep the promise, and is what it holds written for this version."""
    name = "settings"
    try:
        unverified = await patient.connections.verify(claim=False)
    except WrongRedis as wrong:
        return [error(name, wrong.detail)]
    if unverified:
        advice = "Ask who runs this Redis; docs/reliability.md lists what Headrace needs."
        return [warning(name, each, advice) for each in unverified]
    return [ok(name, f"it keeps what durability {patient.durability!r} promises")]


async def servers(patient: Patient) -> list[Check]:
    """Look at each server that takes writes."""
    found: list[Check] = []
    for node in await patient.connections.masters():
        with translated():
            info = await node.client.info()
        found.append(_server(node, info))
        found += [*_clients(info), *_evictions(info), *_replicas(patient, info)]
    return found


def _server(node: Node, info: Mapping[str, Any]) -> Check:
    product = "Valkey" if "valkey_version" in info else "Redis"
    version = info.get("valkey_version") or info["redis_version"]
    hours = info.get("uptime_in_seconds", 0) / 3600
    return ok("server", f"{product} {version} at {node.address}, up for {hours:.1f} h")


def _clients(info: Mapping[str, Any]) -> list[Check]:
    most, now = info.get("maxclients"), info.get("connected_clients", 0)
    if most and now > most * _MANY_CLIENTS:
        return [
            warning(
                "clients",
                f"{now} of at most {most} clients are connected",
                "Raise Redis' maxclients: a process that cannot connect serves nothing.",
            )
        ]
    return []


def _evictions(info: Mapping[str, Any]) -> list[Check]:
    evicted = info.get("evicted_keys", 0)
    if not evicted:
        return []
    return [
        error(
            "evictions",
            f"Redis has evicted {evicted} keys since it started: jobs may be lost",
            "Run: CONFIG SET maxmemory-policy noeviction, and look at the books below.",
        )
    ]


def _replicas(patient: Patient, info: Mapping[str, Any]) -> list[Check]:
    replicas = [info[f"slave{n}"] for n in range(info.get("connected_slaves", 0))]
    end = info.get("master_repl_offset", 0)
    behind = [int(end - each.get("offset", 0)) for each in replicas if isinstance(each, dict)]
    if any(each > _LAGGING for each in behind):
        says = f"a replica is {max(behind) >> 20} MiB behind: a failover now would lose that much"
        return [warning("replicas", says, "Look at its load and at the network between.")]
    return [ok("replicas", f"{len(replicas)} connected")] if replicas else []


async def accepts(patient: Patient) -> list[Check]:
    """Would a job be accepted durably now."""
    try:
        await patient.connections.check()
    except NotDurable as refused:
        return [error("replicas", refused.detail)]
    return []


async def room(patient: Patient) -> list[Check]:
    """How full are memory and disk."""
    found: list[Check] = []
    for each in await RoomReader(patient.connections).read():
        found += judge_room(each)
    return found


def judge_room(room: Room) -> list[Check]:
    """Say whether one Redis still has room for new jobs."""
    return [_memory(room), *_disk(room)]


def _memory(room: Room) -> Check:
    used = f"{room.memory >> 20} MiB"
    if room.memory_limit is None:
        return ok("memory", f"{used} used; the limit is hidden")
    ratio = room.memory / room.memory_limit
    says = f"{used} of {room.memory_limit >> 20} MiB used ({ratio:.0%})"
    if ratio < MEMORY_LIMIT:
        return ok("memory", says)
    return error(
        "memory",
        f"{says}: submits are refused",
        "Raise maxmemory, purge dead letters, or lower HEADRACE_RESULT_TTL_S.",
    )


def _disk(room: Room) -> list[Check]:
    if room.write_failed:
        return [error("disk", "Redis could not write its log", "Make room on the disk it is on.")]
    if room.disk is None:
        return []
    ratio = 1 - room.disk.free / room.disk.size if room.disk.size else 0.0
    says = f"the disk of Redis' log is {ratio:.0%} full, {room.disk.free >> 20} MiB are free"
    if room.disk.free > min((1 - DISK_LIMIT) * room.disk.size, DISK_KEPT):
        return [ok("disk", says)]
    return [error("disk", f"{says}: submits are refused", "Make room on it.")]


async def clocks(patient: Patient) -> list[Check]:
    """Is this machine's clock that of Redis."""
    found = []
    for node in await patient.connections.masters():
        found.append(skew(f"this machine and Redis at {node.address}", await _skew_s(node)))
    return found


async def _skew_s(node: Node) -> float:
    looks = []
    for _ in range(3):
        began = time.time()
        with translated():
            seconds, microseconds = await node.client.time()
        ended = time.time()
        looks.append((ended - began, seconds + microseconds / 1e6 - (began + ended) / 2))
    # The quickest answer tells best.
    return min(looks)[1]


def skew(between: str, seconds: float) -> Check:
    """Judge how far two clocks are apart."""
    says = f"the clocks of {between} are {abs(seconds):.3f} s apart"
    advice = "Keep both in step (NTP): ids sort by time, and deadlines and signatures depend on it."
    if abs(seconds) > CLOCKS_WRONG_S:
        return error("clock", says, advice)
    return warning("clock", says, advice) if abs(seconds) > CLOCKS_APART_S else ok("clock", says)


async def redis_time_s(patient: Patient, shard: int) -> float:
    """Return the time of the Redis that a shard is on, in Unix seconds."""
    [node] = await patient.connections.by_node([shard])
    with translated():
        seconds, microseconds = await node.client.time()
    return float(seconds) + microseconds / 1e6
