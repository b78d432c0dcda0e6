"""The processes of a campaign: who may be hit, when it is worth it, and who starts them again."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from headrace.chaos.process import Process, alive, children, until

#: seconds between two looks at processes that may have ended
WATCH_S = 0.05
#: seconds for which a victim is waited for to be in the middle of something
PATIENCE_S = 3.0
#: seconds in which a victim has to be whole again
RECOVERY_S = 120.0


def always(_: float) -> bool:
    """Any time is as good as another."""
    return True


def certain(_: int, __: float) -> bool:
    """What was seen before the fault is all that can be known."""
    return True


@dataclass(slots=True)
class Victim:
    """One process that may be hit. Those of one `unit` are not hit at the same time."""

    unit: str
    process: Process
    #: in the middle of a run (of which engine), a request, a command; 0 when not
    busy: Callable[[], int]
    #: it does its work again
    whole: Callable[[], bool]
    #: the child that is meant, where it is not the process itself
    child: bool = False
    #: asked with the time of a long freeze: whether waking it now is worst
    ripe: Callable[[float], bool] = always
    #: asked with what `busy` said and the time of the fault: whether it was so at that time
    was_busy: Callable[[int, float], bool] = certain

    def pid(self) -> int | None:
        """Its process, None while it has none."""
        if not self.process.running:
            return None
        if not self.child:
            return self.process.pid
        return next(filter(alive, reversed(children(self.process.pid))), None)

    def catch(self) -> tuple[int | None, int]:
        """Wait until it is in the middle of something; its pid, and what `busy` said."""
        end = time.monotonic() + PATIENCE_S
        pid = None
        while time.monotonic() < end:
            pid = self.pid()
            if pid is not None and (busy := self.busy()):
                return pid, busy
            time.sleep(0.005)
        return pid, 0


@dataclass
class Supervisor:
    """Starts again what has ended, as an orchestrator would, and remembers who was who."""

    processes: dict[str, Process]
    #: pid -> name of each process that ever lived
    lives: dict[int, str] = field(default_factory=dict)
    #: ends that no fault explains: (name, exit code)
    surprises: list[tuple[str, int]] = field(default_factory=list)
    _condemned: set[int] = field(default_factory=set)
    _stop: threading.Event = field(default_factory=threading.Event)
    _thread: threading.Thread | None = None

    def __enter__(self) -> Supervisor:
        self._look()
        self._thread = threading.Thread(target=self._watch)
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._stop.set()
        if self._thread is not None:
            self._thread.join()

    def condemn(self, pid: int) -> None:
        """This process is about to be ended on purpose."""
        self._condemned.add(pid)

    def all_back(self) -> bool:
        """Whether each runs that was to be ended: one runs on for a moment after its signal."""
        return all(
            each.running and each.pid not in self._condemned for each in self.processes.values()
        )

    def _watch(self) -> None:
        while not self._stop.wait(WATCH_S):
            self._look()

    def _look(self) -> None:
        for name, process in self.processes.items():
            code = process.exit_code
            if code is not None:
                if process.pid not in self._condemned:
                    self.surprises.append((name, code))
                process.start()
            self.lives[process.pid] = name


def freeze(pid: int, seconds: float, ripe: Callable[[], bool] = lambda: True) -> None:
    """Stop a process for so long, and on until the time is ripe to let it go on.

    It may have ended meanwhile.
    """
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGSTOP)
        try:
            time.sleep(seconds)
            end_at = time.monotonic() + PATIENCE_S
            while not ripe() and time.monotonic() < end_at:
                time.sleep(0.002)
        finally:
            os.kill(pid, signal.SIGCONT)


def end(pid: int, number: signal.Signals) -> None:
    """Kill a process, or ask it to end, and wait until it is gone."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
    until(lambda: not alive(pid), RECOVERY_S, f"the end of {pid}")
