"""One input of a batch does harm, each kind in its own way; every run goes to a side log."""

import ctypes
import json
import os
import re
import signal
import time
from collections.abc import Sequence
from typing import Any, ClassVar, Literal

from pydantic import BaseModel

_LOG = os.environ["CHAOS_LOG"]
#: asked while it lives: the worker itself
_FEEDER = os.getppid()


class OutOfMemoryError(RuntimeError):
    """Named as torch's is."""


class Input(BaseModel):
    """What it does to the process that runs it."""

    n: int = 0
    do: Literal[
        "good", "exception", "invalid_output", "wrong_count", "oom", "exit", "segfault", "hang",
        "stuck", "worker",
    ] = "good"  # fmt: skip
    seconds: float = 0.0


class Output(BaseModel):
    """What was asked."""

    n: int


class Model:
    """Loads once for each engine, and says so."""

    max_batch = 32
    timeout_s = 300
    example: ClassVar = {"n": 0}

    def load(self, ctx: Any) -> None:
        """Nothing but a line in the log."""
        _write(what="load", n=[])

    def predict(self, batch: Sequence[Input], ctx: Any) -> list[Any]:
        """Run, unless somebody in the batch does harm."""
        _write(what="run", n=[each.n for each in batch])
        time.sleep(max(each.seconds for each in batch))
        for kind in {each.do for each in batch}:
            _do(kind)
        results: list[Any] = [{"n": each.n} for each in batch]
        if any(each.do == "wrong_count" for each in batch):
            return results[:-1]
        for place, each in enumerate(batch):
            if each.do == "invalid_output":
                results[place] = {"n": "not a number"}
        return results


def _do(kind: str) -> None:
    if kind == "exception":
        raise ValueError("one of you does harm")
    if kind == "oom":
        raise OutOfMemoryError("CUDA out of memory. Tried to allocate 1000.00 GiB")
    if kind == "exit":
        os._exit(3)
    if kind == "segfault":
        ctypes.string_at(0)
    if kind == "hang":
        spin()
    if kind == "stuck":
        stick()
    if kind == "worker":
        # As the kernel does where a container has no memory left: whoever is in it.
        os.kill(_FEEDER, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)


def spin() -> None:
    """Never end."""
    while True:
        pass


def stick() -> None:
    """Never end, in native code, and let no other thread run."""
    re.match("(a+)+$", "a" * 100 + "b")


def _write(**told: object) -> None:
    line = json.dumps({"at": time.monotonic(), "pid": os.getpid(), **told}) + "\n"
    log = os.open(_LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(log, line.encode())
    finally:
        os.close(log)
