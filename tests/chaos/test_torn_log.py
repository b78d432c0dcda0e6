"""The append-only file breaks off inside a script's transaction: all of it is there, or nothing.

A power cut may leave any length of the file. Whatever that length, a real redis-server that loads
it must show the state before the script or the state after it, and the books must agree with it.
"""

from __future__ import annotations

import itertools
import random
import shutil
import tempfile
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from jobs import scripts
from jobs.audit import Finding, audit
from jobs.connection import RedisConnections

from .sizes import FULL, report, seed, size
from .torn import (
    OPTIONS,
    Recorder,
    Server,
    Written,
    commands_of,
    contents,
    every_transition,
    started_on,
)

SCRIPTS = {value.name for value in vars(scripts).values() if isinstance(value, scripts.Script)}
READERS = {"overview", "dead", "attempts", "look", "untold", "calls", "waiting"}


@pytest.fixture
def folder() -> Iterator[Path]:
    # Not pytest's folder: a unix socket's path has room for 107 characters.
    made = Path(tempfile.mkdtemp(prefix="hr-torn-"))
    yield made
    shutil.rmtree(made)


async def recorded(folder: Path) -> tuple[bytes, list[Written]]:
    """Let everything happen on a server, kill it, and return its log, call by call."""
    server = Server(folder)
    try:
        async with Recorder(server.url, server.log) as recorder:
            await every_transition(recorder)
    finally:
        server.kill()
    return server.log.read_bytes(), recorder.written


async def findings_of(url: str) -> list[Finding]:
    async with RedisConnections(url) as connections:
        return await audit(connections, OPTIONS, look_again_s=0)


class Torn:
    """Loads the log up to any byte, each time by a server of its own."""

    def __init__(self, whole: Path, folder: Path) -> None:
        self._whole, self._folder = whole, folder
        self._numbers = itertools.count()
        self._known: dict[int, dict[bytes, Any]] = {}
        self.loads = 0
        self.findings: list[tuple[int, list[Finding]]] = []

    async def at(self, length: int) -> dict[bytes, Any]:
        """Return what a server holds that was left so many bytes of the log."""
        folder = self._folder / str(next(self._numbers))
        server = started_on(self._whole, folder, length)
        self.loads += 1
        try:
            found = await findings_of(server.url)
            if found:
                self.findings.append((length, found))
            return contents(server.url)
        finally:
            server.kill()
            shutil.rmtree(folder)

    async def whole_at(self, length: int) -> dict[bytes, Any]:
        """Return the state at the end of a transaction."""
        if length not in self._known:
            self._known[length] = await self.at(length)
        return self._known[length]


def cuts_in(log: bytes, written: Written, chance: random.Random) -> list[int]:
    """Command boundaries inside a transaction, and a byte in each command; in full, all of them."""
    places, at = [], written.begin
    for command in commands_of(log, written):
        places.append(at + chance.randrange(1, len(command)))
        at += len(command)
        places.append(at)
    return sorted(chance.sample(places[:-1], min(len(places) - 1, size("torn_cuts"))))


def chosen_of(log: bytes, written: list[Written]) -> list[Written]:
    """Of each script the calls that wrote different commands; outside of the full size, some."""
    shapes: dict[str, dict[tuple[bytes, ...], Written]] = defaultdict(dict)
    for each in written:
        names = tuple(command.split(b"\r\n")[2].upper() for command in commands_of(log, each))
        if names:
            shapes[each.script].setdefault(names, each)
    most = size("torn_shapes")
    return [
        each
        for by_shape in shapes.values()
        for each in sorted(by_shape.values(), key=lambda one: one.begin - one.end)[:most]
    ]


@pytest.mark.timeout(600)
async def test_a_torn_log_holds_all_of_a_script_or_nothing(folder: Path) -> None:
    chosen_seed = seed()
    chance = random.Random(chosen_seed)
    whole = folder / "whole"
    whole.mkdir()
    log, written = await recorded(whole)
    assert {each.script for each in written} == SCRIPTS
    wrote = {each.script for each in written if each.end > each.begin}
    assert wrote == SCRIPTS - READERS
    torn = Torn(whole, folder)
    half_done, calls = [], chosen_of(log, written)
    for each in calls:
        commands = commands_of(log, each)
        assert sum(map(len, commands)) == each.end - each.begin
        before, after = await torn.whole_at(each.begin), await torn.whole_at(each.end)
        for length in cuts_in(log, each, chance):
            state = await torn.at(length)
            if state not in (before, after):
                half_done.append((each.script, length - each.begin))
    good = not half_done and not torn.findings
    report(
        "torn_log",
        good,
        seed=chosen_seed,
        scripts=len(wrote),
        calls=len(calls),
        loads=torn.loads,
        half_done=len(half_done),
        audit=len(torn.findings),
        full=FULL,
    )
    assert not half_done
    assert not torn.findings
