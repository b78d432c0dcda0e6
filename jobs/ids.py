"""Ids: a prefix, three characters of shard, twenty-six of UUIDv7, all lowercase base32hex.

base32hex keeps the order of the bytes, so ids sort by time within a shard.
"""

from __future__ import annotations

import re
import time
from random import getrandbits

from jobs.shards import SHARDS

_ALPHABET = "0123456789abcdefghijklmnopqrstuv"
_ID = re.compile(r"(job|bat|wh)_([0-9a-v]{3})([0-9a-v]{26})")

_RANDOM_BITS = 62
_last_stamp = 0


#: Two characters a step: half the work of the one part of a submit that is pure arithmetic.
_PAIRS = [first + second for first in _ALPHABET for second in _ALPHABET]
_STEPS = range(120, -1, -10)


def shard_text(shard: int) -> str:
    """Return the three characters that name a shard in an id."""
    return f"{_ALPHABET[shard >> 10]}{_PAIRS[shard & 1023]}"


def _uuid_text() -> str:
    value = uuid7()
    return "".join([_PAIRS[value >> step & 1023] for step in _STEPS])


def uuid7() -> int:
    """Return a UUIDv7 (RFC 9562) as an integer; within a process they never go backwards.

    The 12 bits after the millisecond hold its fraction (RFC 9562, 6.2, method 3), and a call in
    the same fraction takes the next one, so that two ids of one process sort as they were made.
    """
    global _last_stamp  # noqa: PLW0603 - one clock for the process is the point
    stamp = time.time_ns() * 4096 // 1_000_000
    if stamp <= _last_stamp:
        stamp = _last_stamp + 1
    _last_stamp = stamp
    milliseconds, fraction = stamp >> 12, stamp & 0xFFF
    milliseconds &= (1 << 48) - 1
    # An id need not be secret, only unique: nothing is reached by an id without its tenant.
    return milliseconds << 80 | 7 << 76 | fraction << 64 | 2 << 62 | getrandbits(_RANDOM_BITS)


def new_job_id(shard: int) -> str:
    """Mint the id of a job on `shard`."""
    return f"job_{shard_text(shard)}{_uuid_text()}"


def new_batch_id(shard: int) -> str:
    """Mint the id of a batch on `shard`."""
    return f"bat_{shard_text(shard)}{_uuid_text()}"


def new_webhook_id(shard: int) -> str:
    """Mint the id of a delivery of something on `shard`."""
    return f"wh_{shard_text(shard)}{_uuid_text()}"


def shard_of(identifier: str, kind: str = "job") -> int | None:
    """Return the shard in an id, or None if it is not an id of that kind."""
    match = _ID.fullmatch(identifier)
    if match is None or match[1] != kind:
        return None
    shard = int(match[2], 32)
    return shard if shard < SHARDS else None


def time_part(identifier: str) -> str:
    """Return the part of an id that sorts by time on every shard."""
    return identifier[7:]


def milliseconds_of(identifier: str) -> int:
    """Return the Unix time in milliseconds at which an id was minted."""
    return int(time_part(identifier), 32) >> 80
