"""Several server processes on one listening socket: started, replaced when they die, stopped."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator

from api.settings import ApiSettings
from telemetry import logs, traces

#: A process that lived for less than this is started again only after a pause, longer each time.
SETTLED_S = 10.0
_PAUSE_S = (0.1, 10.0)
_POLL_S = 0.2
_PR_SET_PDEATHSIG = 1
#: One that was still starting has no handler yet: the signal itself ends it, in order too.
_IN_ORDER = (0, -signal.SIGTERM)

log = logs.get(__name__)


class Supervisor:
    """Keeps `API_WORKERS` processes alive until it is told to stop."""

    def __init__(self, settings: ApiSettings, listener: socket.socket) -> None:
        command = [sys.executable, "-P", "-m", "api", "--listen-fd", str(listener.fileno())]
        command += ["--child-of", str(os.getpid())]
        if settings.insecure:
            command.append("--insecure")
        self._slots = [_Slot(command, listener.fileno()) for _ in range(settings.api_workers)]
        self._drain_s = settings.drain_s
        self._stop = threading.Event()

    def run(self) -> int:
        """Supervise until SIGTERM or SIGINT; return the exit code."""
        with _signals(self._stop):
            for slot in self._slots:
                slot.start()
            while not self._stop.wait(_POLL_S):
                for slot in self._slots:
                    slot.keep()
            return self._end()

    def _end(self) -> int:
        for slot in self._slots:
            slot.terminate()
        deadline = time.monotonic() + self._drain_s + 5 + traces.CLOSE_S
        codes = [slot.wait(deadline) for slot in self._slots]
        return 0 if all(code in _IN_ORDER for code in codes) else 1


class _Slot:
    """The place of one process and of those that follow it."""

    def __init__(self, command: list[str], listen_fd: int) -> None:
        self._command = command
        self._listen_fd = listen_fd
        self._process: subprocess.Popen[bytes] | None = None
        self._began = 0.0
        self._pause_s = _PAUSE_S[0]
        self._start_at: float | None = None

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command, pass_fds=[self._listen_fd], stdin=subprocess.DEVNULL
        )
        self._began = time.monotonic()
        self._start_at = None

    def keep(self) -> None:
        """Start the process again if it has died, at once or after its pause."""
        now = time.monotonic()
        if self._start_at is not None:
            if now >= self._start_at:
                self.start()
            return
        if self._process is None or self._process.poll() is None:
            return
        settled = now - self._began >= SETTLED_S
        self._pause_s = _PAUSE_S[0] if settled else min(self._pause_s * 2, _PAUSE_S[1])
        self._start_at = now + self._pause_s
        log.error(
            "api_process_died",
            died=self._process.pid,
            exit_code=self._process.returncode,
            starts_again_in_s=self._pause_s,
        )

    def terminate(self) -> None:
        """Ask the process to end; one that died before that is no part of this end."""
        if self._process is None:
            return
        if self._process.poll() is None:
            self._process.terminate()
            return
        code = self._process.returncode
        if self._start_at is None and code not in _IN_ORDER:
            log.error("api_process_died", died=self._process.pid, exit_code=code)
        self._process = None

    def wait(self, deadline: float) -> int:
        if self._process is None:
            return 0
        try:
            return self._process.wait(max(0.1, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            log.warning("api_process_killed", killed=self._process.pid, reason="it did not drain")
            self._process.kill()
            return self._process.wait()


@contextlib.contextmanager
def _signals(stop: threading.Event) -> Iterator[None]:
    before = {
        sig: signal.signal(sig, lambda *_: stop.set()) for sig in (signal.SIGTERM, signal.SIGINT)
    }
    try:
        yield
    finally:
        for sig, handler in before.items():
            signal.signal(sig, handler)


def end_with(parent: int) -> None:
    """Ask the kernel for a SIGTERM when the parent dies, however it dies (Linux alone can)."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    # Compared with its number: in a container the parent itself is process 1.
    if os.getppid() != parent:
        os.kill(os.getpid(), signal.SIGTERM)
