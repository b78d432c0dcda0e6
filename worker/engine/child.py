"""Makes this process a child that ends with its parent and keeps its hands off the terminal."""

import ctypes
import faulthandler
import os
import signal
import sys

PR_SET_PDEATHSIG = 1
#: seconds; threads that copy, prepare and finish must not hold the device's thread up for 5 ms
SWITCH_INTERVAL_S = 0.001


def settle_in(stacks: int) -> None:
    """Call once, before the author's code is imported; stacks go to this descriptor."""
    _die_with_parent()
    _leave_signals_to_parent()
    _print_to_stderr()
    _dump_stacks(stacks)
    sys.setswitchinterval(SWITCH_INTERVAL_S)


def leave(code: int) -> None:
    """End now: a thread that the author's code left behind must not keep the GPU."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
    os._exit(code)


def _die_with_parent() -> None:
    # Elsewhere than on Linux the end of the socket has to do: it is missed only in a long kernel.
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _leave_signals_to_parent() -> None:
    # Ctrl-C reaches the whole group; it is the feeder who knows what to finish first.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _print_to_stderr() -> None:
    """What the author's code prints is a log line; standard output may be closed or unread."""
    os.dup2(2, 1)
    sys.stdout = sys.stderr


def _dump_stacks(descriptor: int) -> None:
    # A copy, which no process that the author's code starts inherits: it may be standard error,
    # which that code may close or redirect.
    copy = os.dup(descriptor)
    faulthandler.enable(copy, all_threads=True)
    faulthandler.register(signal.SIGUSR1, copy, all_threads=True)
