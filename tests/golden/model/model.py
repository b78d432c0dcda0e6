"""The model of the golden data. Its name and version stand in them: they stay as they are.

While the data are written, jobs take as long as they say and those told to wait are put off; when
they are drained, no job takes any time and each succeeds that can.
"""

import os
import time
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel

#: While the data are written, the least time that a batch takes.
_WRITING = os.environ.get("GOLDEN_WRITING")
_LOG = os.environ.get("GOLDEN_LOG")


class Input(BaseModel):
    """What to do."""

    name: str = ""
    do: Literal["return", "raise", "put_off"] = "return"
    seconds: float = 0.0


class Output(BaseModel):
    """Whose result it is."""

    name: str


class PutOff(Exception):
    """Another attempt may fare better."""

    retryable = True


class Model:
    """Two at a time, so that batches are part of it."""

    max_batch = 2
    timeout_s = 900
    retry_backoff_s = 90
    example: ClassVar = {"name": "warm-up"}

    def load(self, ctx):
        """Nothing to load."""

    def predict(self, batch, ctx):
        """Act each input out."""
        if _WRITING:
            time.sleep(max(float(_WRITING), *(item.seconds for item in batch)))
        elif _LOG:
            with Path(_LOG).open("a") as log:
                log.writelines(f"{job.id}\n" for job in ctx.jobs)
        return [_act(item) for item in batch]


def _act(item):
    if item.do == "raise":
        return ValueError("told to fail")
    if item.do == "put_off" and _WRITING:
        return PutOff("told to wait")
    return Output(name=item.name)
