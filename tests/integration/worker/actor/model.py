"""Does what its input says, also to the process it runs in."""

import os
import re
import signal
import time
from pathlib import Path
from typing import Any

from pydantic import BaseModel


class Input(BaseModel):
    """What to do, and for how long."""

    do: str = "echo"
    value: Any = None
    seconds: float = 0.0
    file: str = ""
    #: a file: what takes time goes on until it is there
    gate: str = ""


class Output(BaseModel):
    """The value that was given."""

    value: Any = None


class Busy(Exception):
    """Worth another try."""

    retryable = True


class Model:
    """One action for each item, in the order of the batch."""

    max_batch = 4
    retry_backoff_s = 0.05
    example = Input()

    def load(self, ctx):
        """Nothing to load."""

    def prepare(self, input):
        """Some inputs are not fit to run."""
        if input.do == "refuse":
            raise ValueError("not this one")
        if input.do == "die in prepare":
            os.kill(os.getpid(), signal.SIGKILL)
        return input

    def predict(self, batch, ctx):
        """Act."""
        return [self._act(each, job) for each, job in zip(batch, ctx.jobs, strict=True)]

    def _act(self, input, job):  # noqa: C901 - one line for each thing it can do
        if input.do == "die" or (input.do == "die once" and self._first(input)):
            os.kill(os.getpid(), signal.SIGKILL)
        if input.do == "sleep":
            self._take_time(input)
        if input.do == "hold the GIL":
            # In native code, for longer than anybody waits.
            re.match("(a+)+$", "a" * 100 + "b")
        if input.do == "watch":
            until = time.monotonic() + input.seconds
            while time.monotonic() < until and not job.canceled:
                time.sleep(0.01)
        if input.do == "tell":
            job.progress(0.5, "half way")
            job.log("a line")
            self._take_time(input)
        if input.do == "append":
            self._take_time(input)
            return Output(value=self._count(input, job.id))
        if input.do == "raise":
            return ValueError("no")
        if input.do == "busy" or (input.do == "busy once" and self._first(input)):
            return Busy("later")
        if input.do == "large":
            return Output(value="x" * 400_000)
        return Output(value=input.value)

    def _take_time(self, input):
        time.sleep(input.seconds)
        while input.gate and not Path(input.gate).exists():
            time.sleep(0.01)

    def _first(self, input):
        mark = Path(input.file)
        if mark.exists():
            return False
        mark.touch()
        return True

    def _count(self, input, job_id):
        """Which run of this job this is."""
        runs = Path(input.file)
        with runs.open("a") as file:
            file.write(job_id + "\n")
        return runs.read_text().split().count(job_id)
