"""The end of Redis's append-only file, before a server is started on it.

A server that is killed while it writes may leave a transaction without its end. Redis (up to 8.2 at
least; Valkey has it mended since August 2026, valkey-io/valkey#4342) does not apply it, but where
it breaks off inside a command, only that command is cut away: the opened transaction stays, what is
written next follows it, and the next start takes both for one. Jobs that were never acknowledged
come to life then, and entries of others are refused in their favour.
"""

from __future__ import annotations

from pathlib import Path

import hiredis

_MULTI = b"*1\r\n$5\r\nMULTI\r\n"
#: Looked at first, in bytes; then ever more, up to the whole file.
_WINDOW = 4 << 20


def cut_torn_transaction(folder: Path) -> int:
    """Cut a transaction without its end from the log in a data folder; return bytes cut away.

    Only where no server runs on it. A log that has no such end, or none at all, is left alone.
    """
    logs = sorted((folder / "appendonlydir").glob("*.incr.aof"), key=_number)
    if not logs:
        return 0
    # Only the last one is written to.
    log = logs[-1]
    size = log.stat().st_size
    at = _torn_at(log, size)
    if at is None:
        return 0
    with log.open("r+b") as file:
        file.truncate(at)
    return size - at


def _number(log: Path) -> int:
    # appendonly.aof.7.incr.aof
    number = log.name.split(".")[-3]
    return int(number) if number.isdecimal() else 0


def _torn_at(log: Path, size: int) -> int | None:
    window = _WINDOW
    while True:
        start = max(0, size - window)
        with log.open("rb") as file:
            file.seek(start)
            tail = file.read()
        found = len(tail)
        while (found := tail.rfind(_MULTI, 0, found)) >= 0:
            whole = _is_whole(tail[found:])
            if whole is not None:
                return None if whole else start + found
        if start == 0:
            return None
        window *= 8


def _is_whole(commands: bytes) -> bool | None:
    """Whether a transaction has its end; None for what is no transaction, but looks like one."""
    reader = hiredis.Reader()
    reader.feed(commands)
    try:
        while (command := reader.gets()) is not False:
            if not isinstance(command, list):
                return None
            if command == [b"EXEC"]:
                return True
    except hiredis.ProtocolError:
        return None
    return False
