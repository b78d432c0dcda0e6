"""Processes on this machine, started and ended by the pids they were given."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Self, TypeVar

Answer = TypeVar("Answer")


#: Below those that systems give away by themselves, to whoever connects or binds to port 0.
_PORTS = range(15_000, 32_000)
#: No port is returned twice: what it is for may be long in starting, or may start again.
_ports = itertools.cycle(random.sample(_PORTS, len(_PORTS)))


def free_port() -> int:
    """Return a loopback port that nobody listens on, and that nobody is given by chance."""
    while True:
        port = next(_ports)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port


def until(ask: Callable[[], Answer], seconds: float = 20.0, what: str = "") -> Answer:
    """Ask until the answer is true, and return it."""
    end = time.monotonic() + seconds
    while True:
        answer = ask()
        if answer:
            return answer
        if time.monotonic() > end:
            raise TimeoutError(f"not within {seconds} s: {what}; last: {answer!r}")
        time.sleep(0.02)


def children(pid: int) -> list[int]:
    """Return the pids of a process's children."""
    try:
        tasks = list(Path("/proc", str(pid), "task").iterdir())
        return [int(each) for task in tasks for each in (task / "children").read_text().split()]
    except OSError:
        return []


def tree(pid: int) -> list[int]:
    """Return a pid and every pid below it."""
    return [pid, *(each for child in children(pid) for each in tree(child))]


def alive(pid: int) -> bool:
    """Whether a process runs or is stopped; what only waits to be reaped is not alive."""
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except OSError:
        return False
    return state not in {"Z", "X"}


class Process:
    """One process, its output in a file; it may be started again."""

    def __init__(
        self, command: Sequence[str], log: Path, environment: Mapping[str, str] | None = None
    ) -> None:
        #: Done before each start.
        self.before: Callable[[], object] = lambda: None
        self._command = list(command)
        self._environment = dict(environment or {})
        self.log = log
        self._running: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it, or start it again."""
        self.before()
        ours = {key: value for key, value in os.environ.items() if not key.startswith("HEADRACE_")}
        with self.log.open("ab") as output:
            self._running = subprocess.Popen(
                self._command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**ours, **self._environment},
                cwd=self.log.parent,
            )
        return self

    @property
    def pid(self) -> int:
        """The pid of the present life."""
        assert self._running is not None
        return self._running.pid

    @property
    def exit_code(self) -> int | None:
        """How it ended, None while it runs or before it was started."""
        return None if self._running is None else self._running.poll()

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._running is not None and self._running.poll() is None

    def engine(self) -> int:
        """The pid of a worker's engine, once there is one."""

        def living() -> list[int]:
            # One that has died may still wait to be reaped, beside its successor.
            return [each for each in children(self.pid) if alive(each)]

        return until(living, what=f"a child of {self._command}")[-1]

    def signal(self, number: int) -> None:
        """Send a signal to it alone."""
        assert self._running is not None
        self._running.send_signal(number)

    def kill(self) -> None:
        """End it at once, as a power cut would; what it started is left to itself."""
        if self._running is not None:
            self._running.kill()
            self._running.wait()

    def kill_tree(self) -> None:
        """End it at once with all that it started, also what was stopped."""
        if self._running is not None:
            below = tree(self._running.pid)[1:]
            self.kill()
            for pid in below:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            # Who clears up after them is not to meet one that still writes.
            until(lambda: not any(alive(pid) for pid in below), 10.0, f"{below} have ended")

    def stop(self, seconds: float = 20.0) -> int:
        """Ask it to end, as an init system does; return its exit code."""
        if self._running is None:
            return 0
        self.signal(signal.SIGTERM)
        try:
            return self._running.wait(seconds)
        except subprocess.TimeoutExpired:
            self.kill()
            raise

    def said(self) -> str:
        """Everything it has printed."""
        return self.log.read_text(errors="replace") if self.log.exists() else ""
