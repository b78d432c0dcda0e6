"""What is left for new jobs, when the log is worth a rewrite, which Redis is on this machine."""

from __future__ import annotations

from dataclasses import replace

import pytest

from api.reserve import DISK_KEPT, OWED, UNKNOWN_RESULT, left, owed, worth_rewriting
from jobs.overview import ModelOverview
from jobs.room import Disk, Room, is_here

MIB = 1 << 20
EMPTY = Room(
    memory=0, memory_limit=None, live=0, log=0, rewriting=False, disk=None, write_failed=False
)


def load(queued: int, running: int, result: float | None) -> ModelOverview:
    return ModelOverview(queued, running, 1.0, 0.0, [], result)


def test_where_nothing_is_known_nothing_is_short() -> None:
    assert list(left(EMPTY, 10**12)) == []
    [broken] = left(replace(EMPTY, write_failed=True), 0)
    assert broken.bytes < 0


def test_results_still_to_come_are_reckoned_with() -> None:
    assert owed([load(3, 1, 112), load(1, 0, None)]) == 5 * OWED + 4 * 112 + UNKNOWN_RESULT
    # 200 KiB take a block of 224.
    assert owed([load(1, 0, 200 * 1024)]) == OWED + 224 * 1024
    half = replace(EMPTY, memory=50 * MIB, memory_limit=100 * MIB)
    now, later = left(half, 0)
    assert (round(now.bytes / MIB), round(later.bytes / MIB)) == (20, 45)
    assert (now.owing, later.owing) == (False, True)
    # As it was: 28 MB of jobs whose results made 188 MB of them.
    _, later = left(half, 40 * MIB)
    assert round(later.bytes / MIB) == 5
    _, later = left(half, 60 * MIB)
    assert later.bytes < 0
    assert "60.0 MiB more" in later.why


def test_a_disk_keeps_back_a_share_but_not_of_a_huge_one() -> None:
    small = replace(EMPTY, disk=Disk(size=100 * MIB, free=16 * MIB))
    now, later = left(small, 4 * MIB)
    assert (round(now.bytes / MIB), round(later.bytes / MIB)) == (1, 7)
    huge = replace(EMPTY, disk=Disk(size=100 * DISK_KEPT, free=DISK_KEPT + MIB))
    now, _ = left(huge, 0)
    assert now.bytes == MIB


@pytest.mark.parametrize(
    ("log", "live", "free", "rewriting", "worth"),
    [
        (20, 1, 4, False, True),
        (20, 1, 4, True, False),
        # It would not fit, and Redis ends when it cannot write.
        (20, 5, 4, False, False),
        # Most of it is data.
        (20, 15, 20, False, False),
        # There is no need.
        (20, 1, 200, False, False),
        (0, 0, 1, False, False),
    ],
)
def test_the_log_is_rewritten_when_it_helps_and_fits(
    log: int, live: int, free: int, rewriting: bool, worth: bool
) -> None:
    disk = Disk(size=500 * MIB, free=free * MIB)
    room = replace(EMPTY, log=log * MIB, live=live * MIB, disk=disk, rewriting=rewriting)
    assert worth_rewriting(room) is worth


@pytest.mark.parametrize(
    ("address", "here"),
    [
        ("/run/r.sock", True),
        ("127.0.0.1:6379", True),
        ("localhost:6379", True),
        ("::1:6379", True),
        ("redis:6379", False),
        ("10.0.0.3:6379", False),
    ],
)
def test_a_redis_is_here_if_its_address_is(address: str, here: bool) -> None:
    assert is_here(address) is here
