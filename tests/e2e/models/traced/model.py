"""Runs as long as it is told, fails or dies once; takes what comes together as one batch."""

import os
import signal
import time
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel


class Input(BaseModel):
    """What to do; what is done once is done by whoever finds no such file."""

    seconds: float = 0.0
    do: Literal["return", "raise_once", "crash_once"] = "return"
    file: str = ""
    say: str = ""
    #: A file without which it does not end.
    gate: str = ""


class Output(BaseModel):
    """What was waited."""

    seconds: float


class TryLater(Exception):
    """Another attempt does not meet it."""

    retryable = True


class Model:
    """One batch for all that comes within a moment."""

    max_batch = 8
    max_wait_ms = 200
    timeout_s = 20
    retry_backoff_s = 0.1
    example: ClassVar = {}

    def load(self, ctx):
        """Nothing to load."""

    def predict(self, batch, ctx):
        """Act each input out."""
        return [self._act(item, job) for item, job in zip(batch, ctx.jobs, strict=True)]

    def _act(self, item, job):
        if item.say:
            job.log(item.say)
        time.sleep(item.seconds)
        while item.gate and not Path(item.gate).exists():
            time.sleep(0.01)
        if item.do != "return" and not Path(item.file).exists():
            Path(item.file).touch()
            if item.do == "raise_once":
                return TryLater("told to fail once")
            os.kill(os.getpid(), signal.SIGKILL)
        return Output(seconds=item.seconds)
