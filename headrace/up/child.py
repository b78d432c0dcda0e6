"""One process that is started again whenever it ends."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path

from headrace.up.log_files import bound, last_words

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 30.0
#: A process that lived this long did not fail to start: the next pause is short again.
_QUIET_S = 60.0
_READY_POLL_S = 0.05
_PR_SET_PDEATHSIG = 1


class State(StrEnum):
    """What a kept process is doing."""

    WAITING = "waiting"
    STARTING = "starting"
    RUNNING = "running"
    RESTARTING = "restarting"
    STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Command:
    """What to run, under which name, and how to see that it is up."""

    name: str
    argv: tuple[str, ...]
    environment: Mapping[str, str]
    log: Path
    ready: Callable[[], Awaitable[bool]] | None = None
    inherit: tuple[int, ...] = ()
    #: Done before each start and each minute; returns what is to be told of it.
    prepare: Callable[[], str] | None = None
    #: Done before each start, and never while it runs.
    before: Callable[[], object] | None = None


@dataclass(slots=True)
class Backoff:
    """The pause before the next start: doubled with each, short again after a quiet minute."""

    pause_s: float = 0.0

    def after(self, lived_s: float) -> float:
        """Return the pause for a process that lived this long."""
        if lived_s >= _QUIET_S:
            self.pause_s = 0.0
        self.pause_s = min(max(self.pause_s * 2, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
        return self.pause_s


@dataclass(slots=True)
class Child:
    """A process, its state, and how often it had to be started again."""

    command: Command
    state: State = State.WAITING
    restarts: int = 0
    pid: int | None = None
    ended: str = ""
    #: Set when it is first up, or first ended without; `came_up` tells which.
    decided: asyncio.Event = field(default_factory=asyncio.Event)
    came_up: bool = False
    _log_start: int = 0
    _stopping: asyncio.Event = field(default_factory=asyncio.Event)
    _backoff: Backoff = field(default_factory=Backoff)

    @property
    def name(self) -> str:
        return self.command.name

    async def keep(self) -> None:
        """Run the process, and again whenever it ends, until it is told to quit."""
        self.prepare()
        while not self._stopping.is_set():
            began = time.monotonic()
            self.ended = await self._run_once()
            if told := self.prepare():
                self.ended += f" ({told})"
            self.decided.set()
            if self._stopping.is_set():
                break
            self.restarts += 1
            self.state = State.RESTARTING
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._backoff.after(time.monotonic() - began)):
                    await self._stopping.wait()
        self.state = State.STOPPED
        self.decided.set()

    def prepare(self) -> str:
        """See to what it needs around it; return what is to be told of that."""
        return "" if self.command.prepare is None else self.command.prepare()

    def quit(self) -> None:
        """Ask it to finish what it does and end; it is not started again."""
        self._stopping.set()
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once, with everything it started."""
        self._stopping.set()
        if self.pid is not None:
            _kill_group(self.pid)

    async def _run_once(self) -> str:
        bound(self.command.log)
        self._log_start = self.command.log.stat().st_size if self.command.log.exists() else 0
        try:
            if self.command.before is not None:
                self.command.before()
            process = await _spawn(self.command)
        except OSError as error:
            return f"does not start: {error.strerror}"
        self.pid = process.pid
        self.state = State.STARTING
        # It may have been told to quit while it was being made, before there was a pid.
        if self._stopping.is_set():
            self._signal(signal.SIGTERM)
        watch = asyncio.create_task(self._watch_ready())
        try:
            code = await process.wait()
        finally:
            watch.cancel()
            self.pid = None
            # What it started must not outlive it: it would hold the port, or the GPU's memory.
            _kill_group(process.pid)
        if code < 0:
            return f"killed by {signal.Signals(-code).name}"
        said = last_words(self.command.log, self._log_start) if code else ""
        return f"exit {code}: {said}" if said else f"exit {code}"

    async def _watch_ready(self) -> None:
        ready = self.command.ready
        while ready is not None:
            if await ready():
                break
            await asyncio.sleep(_READY_POLL_S)
        self.state = State.RUNNING
        self.came_up = True
        self.decided.set()

    def _signal(self, number: signal.Signals) -> None:
        if self.pid is not None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.pid, number)


async def _spawn(command: Command) -> asyncio.subprocess.Process:
    with command.log.open("ab") as log:
        return await asyncio.create_subprocess_exec(
            *command.argv,
            env=command.environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            pass_fds=command.inherit,
            # Ctrl-C reaches a whole foreground group; the order of stopping is ours to keep.
            start_new_session=True,
            preexec_fn=_end_with_parent(),
        )


def _end_with_parent() -> Callable[[], None] | None:
    if sys.platform != "linux":
        return None
    # Loaded before the fork: a child between fork and exec must not import.
    libc = ctypes.CDLL(None, use_errno=True)
    parent = os.getpid()

    def ask_for_signal() -> None:
        libc.prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
        if os.getppid() != parent:
            os._exit(1)

    return ask_for_signal


def _kill_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)
