"""Does what it is told: sleeps, fails, crashes, hangs; writes down when it ran."""

import os
import signal
import time
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel


class Input(BaseModel):
    """What to do, and where to write that it was done."""

    do: Literal[
        "return", "raise", "raise_retryable", "raise_once", "nan", "crash", "stop", "wait_cancel"
    ] = "return"
    seconds: float = 0.0
    name: str = ""
    #: A file that takes one line before and one after.
    journal: str = ""
    #: A file without which it does not end.
    gate: str = ""


class Output(BaseModel):
    """What was done."""

    name: str
    value: float = 0.0


class TryLater(Exception):
    """An error that another attempt may not meet."""

    retryable = True


class Model:
    """One item at a time, so that order can be seen."""

    max_batch = 1
    timeout_s = 20
    retry_backoff_s = 0.2
    example: ClassVar = {"do": "return"}

    def load(self, ctx):
        """Nothing to load."""

    def predict(self, batch, ctx):
        """Act the one input out."""
        return [self._act(item, job) for item, job in zip(batch, ctx.jobs, strict=True)]

    def _act(self, item, job):
        _write(item, "begin")
        try:
            return _do(item, job)
        finally:
            _write(item, "end")


def _do(item, job):
    if item.do == "wait_cancel":
        end = time.monotonic() + item.seconds
        while not job.canceled and time.monotonic() < end:
            time.sleep(0.01)
    elif item.seconds:
        time.sleep(item.seconds)
    while item.gate and not Path(item.gate).exists():
        time.sleep(0.01)
    if item.do == "raise":
        return ValueError("told to fail")
    if item.do == "raise_retryable":
        return TryLater("told to fail for now")
    if item.do == "raise_once" and _lines(item).count(f"begin {item.name}") < 2:
        return TryLater("told to fail once")
    if item.do == "crash":
        os.kill(os.getpid(), signal.SIGKILL)
    if item.do == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    return Output(name=item.name, value=float("nan") if item.do == "nan" else 0.0)


def _write(item, what):
    if item.journal:
        with Path(item.journal).open("a") as journal:
            journal.write(f"{what} {item.name}\n")


def _lines(item):
    return Path(item.journal).read_text().splitlines() if item.journal else []
