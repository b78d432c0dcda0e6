"""Log files of the processes: bounded, and read when one says why it does not start."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
from pathlib import Path

_LARGEST_BYTES = 32 * 1024 * 1024
_TAIL_BYTES = 8 * 1024


def bound(log: Path) -> None:
    """Put a log that has grown large aside; its writer appends to what is then empty."""
    try:
        if log.stat().st_size <= _LARGEST_BYTES:
            return
    except FileNotFoundError:
        return
    # On a full disk its room is worth more than what it says.
    with contextlib.suppress(OSError):
        shutil.copyfile(log, log.with_suffix(".log.1"))
    os.truncate(log, 0)


def last_words(log: Path, since: int) -> str:
    """Return the last line written after an offset, the event of a structured one."""
    try:
        with log.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(since if since <= size else 0, size - _TAIL_BYTES))
            lines = file.read().decode(errors="replace").splitlines()
    except FileNotFoundError:
        return ""
    said = [line.strip() for line in lines if line.strip()]
    return _sentence(said[-1]) if said else ""


def _sentence(line: str) -> str:
    try:
        event = json.loads(line)
    except ValueError:
        return line
    if not isinstance(event, dict):
        return line
    words = [event.get(name) for name in ("event", "detail", "reason", "error")]
    return ": ".join(str(word) for word in words if word) or line
