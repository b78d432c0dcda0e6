"""Which shards a model lives on, and which of them takes a job."""

from __future__ import annotations

import hashlib
import random
import zlib
from collections.abc import Sequence

#: Fixed for ever: an id carries its shard.
SHARDS = 256


def shards_for_model(model: str, count: int = 1) -> list[int]:
    """Return the `count` shards of a model; a longer list begins with the shorter one."""
    if not 1 <= count <= SHARDS:
        raise ValueError(f"a model lives on 1 to {SHARDS} shards, not {count}")
    first = zlib.crc32(model.encode()) % SHARDS
    # An odd step visits every shard once before it comes back, and keeps neighbours apart.
    return [(first + step * 97) % SHARDS for step in range(count)]


def pick(shards: Sequence[int], digest: str | None = None) -> int:
    """Choose the shard of a new job: by the digest of its Idempotency-Key, else at random.

    A repeated key thus meets its first request inside one script.
    """
    if len(shards) == 1:
        return shards[0]
    if digest is not None:
        return shards[int(digest[:8], 16) % len(shards)]
    return random.choice(shards)


def idempotency_digest(tenant: str, model: str, key: str) -> str:
    """Return the 128-bit hex digest under which an Idempotency-Key is kept."""
    text = "\0".join((tenant, model, key)).encode()
    return hashlib.blake2b(text, digest_size=16).hexdigest()
