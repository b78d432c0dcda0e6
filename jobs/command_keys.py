"""Which key a command is about, and whether it may be sent twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

#: Commands whose answer may be lost and asked for again.
_REPEATABLE = frozenset(
    ("EXISTS", "GET", "HDEL", "HGET", "HGETALL", "HMGET", "HSET", "ZCARD", "ZREVRANGEBYLEX")
)
#: Commands about a whole server; none of those that we send changes more when repeated.
_KEYLESS = frozenset(
    (
        *("CLIENT", "CONFIG", "DBSIZE", "ECHO", "FLUSHALL", "INFO", "KEYS"),
        *("PING", "SCAN", "SCRIPT", "TIME"),
    )
)
#: Where the key stands, if not behind the first word.
_KEY_AT = {"EVAL": 3, "EVALSHA": 3, "MEMORY": 2, "OBJECT": 2, "XGROUP": 2, "XINFO": 2}


def key_of(command: Sequence[Any]) -> bytes | None:
    """Return the first key of a command, None for one about a whole server."""
    name = command[0]
    if name in _KEYLESS:
        return None
    key = command[_KEY_AT.get(name, 1)]
    return key if isinstance(key, bytes) else str(key).encode()


def may_repeat(command: Sequence[Any]) -> bool:
    """Say whether a command gives the same when it is sent again after a lost answer."""
    return command[0] in _REPEATABLE or command[0] in _KEYLESS
