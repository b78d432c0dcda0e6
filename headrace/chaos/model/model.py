"""Does what it is told, and writes each run to a side log that Headrace does not know of.

A run is written down twice: before it begins and when it has ended, so that one which was killed
is seen as open. Every run has a number that nobody has had before and puts it into its output: two
outcomes of one job cannot look alike.
"""

import json
import os
import secrets
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar, Literal

from pydantic import BaseModel, ConfigDict

_LOG = os.environ.get("CHAOS_LOG", "")
#: Asked while the parent lives: it is the feeder, which names the worker.
_FEEDER = os.getppid()


class Input(BaseModel):
    """What to do, and for how long."""

    model_config = ConfigDict(extra="forbid")

    n: int = 0
    seconds: float = 0.0
    #: What is done in the first run only stays undone in the next: a mark beside the log tells.
    do: Literal[
        "return", "raise", "raise_once", "crash", "crash_once", "hang", "hang_once", "exit"
    ] = "return"
    pad: str = ""


class Output(BaseModel):
    """What was asked, and which run answers."""

    n: int
    run: str


class TryLater(Exception):
    """An error that another attempt may not meet."""

    retryable = True


class Model:
    """Items of a batch run side by side, as on a GPU: it takes as long as its longest."""

    max_batch = 8
    max_wait_ms = 0
    timeout_s = 20
    retry_backoff_s = 0.2
    example: ClassVar = {"n": 0}

    def load(self, ctx: Any) -> None:
        """Nothing to load."""

    def predict(self, batch: Sequence[Input], ctx: Any) -> list[Any]:
        """Act each input out, and say so before and after."""
        runs = [secrets.token_hex(8) for _ in batch]
        rows = [
            {"job": job.id, "run": run, "pid": os.getpid(), "feeder": _FEEDER, "do": item.do}
            for job, run, item in zip(ctx.jobs, runs, batch, strict=True)
        ]
        _write("begin", rows)
        firsts = [_first_time(item, job.id) for item, job in zip(batch, ctx.jobs, strict=True)]
        time.sleep(max(item.seconds for item in batch))
        for item, first in zip(batch, firsts, strict=True):
            _die(item, first)
        results = [
            TryLater("told to fail once")
            if item.do == "raise_once" and first
            else ValueError("told to fail")
            if item.do == "raise"
            else Output(n=item.n, run=run)
            for item, run, first in zip(batch, runs, firsts, strict=True)
        ]
        _write("end", rows)
        return results


def _first_time(item: Input, job_id: str) -> bool:
    if not item.do.endswith("_once"):
        return True
    marks = Path(f"{_LOG}.marks")
    marks.mkdir(exist_ok=True)
    try:
        (marks / job_id).touch(exist_ok=False)
    except FileExistsError:
        return False
    return True


def _die(item: Input, first: bool) -> None:
    if item.do == "crash" or (item.do == "crash_once" and first):
        os.kill(os.getpid(), signal.SIGKILL)
    if item.do == "exit":
        os._exit(3)
    if item.do == "hang" or (item.do == "hang_once" and first):
        time.sleep(3600)


def _write(what: str, rows: list[dict[str, Any]]) -> None:
    if not _LOG:
        return
    at = {"what": what, "at": time.monotonic(), "wall": time.time()}
    lines = "".join(json.dumps({**at, **row}) + "\n" for row in rows)
    # One write of a file opened for appending: lines of several workers do not mix.
    log = os.open(_LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(log, lines.encode())
    finally:
        os.close(log)
