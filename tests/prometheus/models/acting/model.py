"""Does what it is told: fails, waits for a gate to open, or finds the device full at first."""

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

_GATES = Path(os.environ["ALERTS_GATES"])


class OutOfMemoryError(RuntimeError):
    """Named as torch's is."""


class Input(BaseModel):
    """What becomes of it."""

    model_config = ConfigDict(extra="forbid")

    do: Literal["return", "raise", "oom_once"] = "return"
    seconds: float = 0.0
    #: A file without which its batch does not end.
    gate: str = ""


class Output(BaseModel):
    """Nothing but that it ran."""

    ran: bool = True


class Model:
    """Items of a batch run side by side, as on a GPU."""

    max_batch = 16
    timeout_s = 600
    example: ClassVar = {"do": "return"}

    def load(self, ctx: Any) -> None:
        """Nothing to load; `seen` are jobs that were tried before."""
        self.seen: set[str] = set()

    def predict(self, batch: Sequence[Input], ctx: Any) -> list[Any]:
        """Act each input out."""
        jobs = {job.id for job, item in zip(ctx.jobs, batch, strict=True) if item.do == "oom_once"}
        first, self.seen = jobs - self.seen, self.seen | jobs
        if first:
            # As where another process had the memory for a moment.
            raise OutOfMemoryError("CUDA out of memory. Tried to allocate 1000.00 GiB")
        time.sleep(max(item.seconds for item in batch))
        while any(item.gate and not (_GATES / item.gate).exists() for item in batch):
            time.sleep(0.05)
        return [ValueError("told to fail") if item.do == "raise" else Output() for item in batch]
