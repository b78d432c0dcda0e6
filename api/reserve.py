"""What is left of a Redis for new jobs, once what was accepted has room to end.

Why these numbers: docs/decisions/0007-room-to-end.md.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from jobs.overview import ModelOverview
from jobs.room import Disk, Room

#: Above this share of Redis's memory, or of the disk of its log, submits wait outside.
MEMORY_LIMIT, DISK_LIMIT = 0.7, 0.85
#: A disk need not keep back more than this, however large it is.
DISK_KEPT = 8 << 30
#: With all that accepted jobs will still need, memory and disk may be used up to here.
FULL = 0.95

#: Bytes that a submit takes beside the payloads, in memory and in the log alike.
TAKEN = 1000
#: Bytes that the rest of a job's way adds to the log, beside its result.
OWED = 1500
#: A result is taken to be as large while no worker has ever told: before its first run a model must
#: not fill Redis with jobs whose results do not fit.
UNKNOWN_RESULT = 64 << 10

#: The log is mostly garbage at this many times its live data.
_MOSTLY_GARBAGE = 2
_SLACK = 256 << 10
_MIB = 1 << 20


@dataclass(frozen=True, slots=True)
class Left:
    """How many bytes may still be let in; with `owing`, their results must fit as well."""

    bytes: float
    owing: bool
    #: What is short when there are none.
    why: str


def owed_by_job(load: ModelOverview | None) -> int:
    """Return how many bytes a job of that model will still need when it ends."""
    learned = None if load is None else load.result_bytes
    return OWED + _allocated(int(UNKNOWN_RESULT if learned is None else learned))


def _allocated(size: int) -> int:
    """Return what Redis's allocator takes for so many bytes.

    jemalloc has four sizes between two powers of two (its manual, "Size classes"), so a value that
    is a little too large for one takes up to a quarter more.
    """
    step = 1 << max(size.bit_length() - 3, 0)
    return -(-size // step) * step


def owed(loads: Iterable[ModelOverview]) -> int:
    """Return how many bytes the accepted jobs of all models will still need."""
    return sum((load.queued + load.running) * owed_by_job(load) for load in loads)


def left(room: Room, promised: int) -> Iterator[Left]:
    """Yield each bound on what may be let in."""
    if room.memory_limit is not None:
        yield from _of_memory(room.memory, room.memory_limit, promised)
    if room.disk is not None:
        yield from _of_disk(room.disk, promised)
    if room.write_failed:
        yield Left(-1, False, "Redis cannot write its log: the disk may be full.")


def _of_memory(used: int, limit: int, promised: int) -> Iterator[Left]:
    share = round(100 * used / limit)
    yield Left(
        MEMORY_LIMIT * limit - used,
        False,
        f"Redis uses {share} % of its memory; jobs are taken up to {MEMORY_LIMIT * 100:.0f} %, so "
        "that accepted ones can end.",
    )
    yield Left(
        FULL * limit - used - promised,
        True,
        f"Redis uses {share} % of its memory, and the results of accepted jobs are expected to "
        f"need {promised / _MIB:.1f} MiB more.",
    )


def _of_disk(disk: Disk, promised: int) -> Iterator[Left]:
    share = round(100 * (1 - disk.free / disk.size))
    yield Left(
        disk.free - min((1 - DISK_LIMIT) * disk.size, DISK_KEPT),
        False,
        f"The disk of Redis's log is {share} % full; the rest is kept so that accepted jobs can "
        "end.",
    )
    yield Left(
        disk.free - min((1 - FULL) * disk.size, DISK_KEPT) - promised,
        True,
        f"The disk of Redis's log is {share} % full, and accepted jobs are expected to need "
        f"{promised / _MIB:.1f} MiB more.",
    )


def worth_rewriting(room: Room) -> bool:
    """Whether a rewrite of the log would mend it or free much of what is short, and can be done.

    One that does not fit on the disk fills it, and a Redis that cannot write its log ends.
    """
    live = min(room.live, room.log)
    if room.rewriting or not _fits(live, room.disk):
        return False
    # A Redis that was killed may have kept half a transaction at the end of what it loaded
    # (headrace/log_tail.py): on its next start that would be taken for whole.
    if room.loaded:
        return True
    if room.disk is None or room.log < _MOSTLY_GARBAGE * live + _SLACK:
        return False
    return room.log - live > room.disk.free / 2


def _fits(live: int, disk: Disk | None) -> bool:
    return disk is None or disk.free >= 1.1 * live + _SLACK
