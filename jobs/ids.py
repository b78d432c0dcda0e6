"""Ids: a prefix, three characters of shard, twenty-six of UUIDv7, all lowercase base32hex.

base32hex keeps the order of the bytes, so ids sort by time within a shard.
"""

from __future__ import annotations

import os
import re
import time

from jobs.shards import SHARDS

_ALPHABET = "0123456789abcdefghijklmnopqrstuv"
_ID = re.compile(r"(job|bat)_([0-9a-v]{3})([0-9a-v]{26})")

_RANDOM_BITS = 62
_last_stamp = 0


def _base32hex(value: int, length: int) -> str:
    digits = [""] * length
    for position in range(length - 1, -1, -1):
        digits[position] = _ALPHABET[value & 31]
        value >>= 5
    return "".join(digits)


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
    random = int.from_bytes(os.urandom(8)) & ((1 << _RANDOM_BITS) - 1)
    return (milliseconds & ((1 << 48) - 1)) << 80 | 7 << 76 | fraction << 64 | 2 << 62 | random


def new_job_id(shard: int) -> str:
    """Mint the id of a job on `shard`."""
    return f"job_{_base32hex(shard, 3)}{_base32hex(uuid7(), 26)}"


def new_batch_id(shard: int) -> str:
    """Mint the id of a batch on `shard`."""
    return f"bat_{_base32hex(shard, 3)}{_base32hex(uuid7(), 26)}"


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
