"""Takes and gives as much as it is told to, and writes each run to a side log."""

import json
import os
import secrets
import time
from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import BaseModel


class Input(BaseModel):
    """Bytes that come along, bytes that are wanted, and how long that takes."""

    n: int = 0
    pad: str = ""
    size: int = 0
    seconds: float = 0.0


class Output(BaseModel):
    """Which run answers, and what was wanted."""

    run: str
    pad: str


class Model:
    """Several at a time, so that a queue drains soon."""

    max_batch = 16
    timeout_s = 60
    example: ClassVar = {"n": 0}

    def load(self, ctx: Any) -> None:
        """Nothing to load."""

    def predict(self, batch: Sequence[Input], ctx: Any) -> list[Output]:
        """Answer each with a run of its own, which the log knows as well."""
        time.sleep(max(item.seconds for item in batch))
        results = []
        for item, job in zip(batch, ctx.jobs, strict=True):
            run = secrets.token_hex(8)
            if log := os.environ.get("CHAOS_LOG"):
                with open(log, "a") as file:  # noqa: PTH123
                    file.write(json.dumps({"job": job.id, "run": run}) + "\n")
            results.append(Output(run=run, pad="x" * item.size))
        return results
