"""What Redis's own log says of keys that are not as they should be: evidence, before it is gone."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from headrace.chaos.resp import Messages, words

#: Commands shown of one log, and characters of one.
_MOST, _LONGEST = 200, 300
_PIECE = 1 << 20
#: A job, a batch, or the digest of an Idempotency-Key.
_NAMES = re.compile(r"(?:job|bat|wh)_[0-9a-v]{29}|\b[0-9a-f]{32}\b")


def history(folder: Path, findings: Iterable[str]) -> list[str]:
    """Return every command of the append-only files that names what the findings name, in order,
    each with its transaction; and what redis-server said when it was started.
    """
    names = {name.encode() for each in findings for name in _NAMES.findall(each)}
    if not names:
        return []
    told = []
    for log in sorted((folder / "appendonlydir").glob("*.incr.aof")):
        for transaction in _transactions(log):
            if any(name in command for command in transaction for name in names):
                told += [_text(command) for command in transaction]
            if len(told) > _MOST:
                return told
    said = (folder / "00-redis.log").read_text(errors="replace").splitlines()
    return told + [line for line in said if "AOF" in line or "Revert" in line or "short" in line]


def _transactions(log: Path) -> Iterator[list[bytes]]:
    messages, inside = Messages(), []
    with log.open("rb") as file:
        while piece := file.read(_PIECE):
            for command in messages.feed(piece):
                inside.append(command)
                first = words(command, 1)[0].upper()
                if first == b"MULTI":
                    inside = [command]
                elif first == b"EXEC" or b"MULTI" not in inside[0].upper():
                    yield inside
                    inside = []


def _text(command: bytes) -> str:
    return b" ".join(words(command, 40)).decode(errors="replace")[:_LONGEST]
