"""What the doctor says of a Redis and of workers that are hard to bring about."""

from __future__ import annotations

from typing import Any

import pytest

from api import reserve
from headrace.doctor import server
from headrace.doctor.workers import Life, judge
from jobs.room import Disk, Room

GIB = 1 << 30


def room(**changes: Any) -> Room:
    told: dict[str, Any] = {
        "memory": 1, "memory_limit": 100 * GIB, "live": 1, "log": 1, "rewriting": False,
        "disk": None, "write_failed": False,
    }  # fmt: skip
    return Room(**told | changes)


@pytest.mark.parametrize(
    ("size", "free"),
    [(1000, 130), (1000, 9), (1000, 8), (1000, 7), (20, 4), (20, 3.1), (20, 2.9), (0, 0)],
)
def test_a_disk_is_full_where_submits_are_refused(size: int, free: float) -> None:
    disk = Disk(size=size * GIB or 1, free=int(free * GIB))
    refused = any(each.bytes <= 0 for each in reserve.left(room(disk=disk), promised=0))
    levels = [each.level for each in server.judge_room(room(disk=disk)) if each.name == "disk"]
    assert levels == ["error" if refused else "ok"]


@pytest.mark.parametrize("share", [0.1, 0.69, 0.71, 0.99])
def test_memory_is_full_where_submits_are_refused(share: float) -> None:
    used = room(memory=int(share * 100 * GIB))
    refused = any(each.bytes <= 0 for each in reserve.left(used, promised=0))
    assert [each.level for each in server.judge_room(used)] == ["error" if refused else "ok"]


def test_the_doctor_and_admission_have_the_same_limits() -> None:
    for name in ("MEMORY_LIMIT", "DISK_LIMIT", "DISK_KEPT"):
        assert getattr(server, name) == getattr(reserve, name), name


@pytest.mark.parametrize(
    ("state", "level"),
    [("ready", None), ("draining", "ok"), ("loading", "warning"), ("failed", "error")],
)
def test_a_worker_that_is_being_replaced_is_no_fault(state: str, level: str | None) -> None:
    found = judge(Life("gpu-7:1", record={"state": state}), 10)
    assert [each.level for each in found] == ([level] if level else [])
