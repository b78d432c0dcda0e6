"""Every kind of end that a job may have, each run in a side log that Headrace does not know of."""

import json
import os
import time
from pathlib import Path
from typing import ClassVar, Literal

from pydantic import BaseModel

_LOG = os.environ["CHAOS_LOG"]


class Input(BaseModel):
    """What becomes of it, and a mark to know it by."""

    n: str = ""
    do: Literal["return", "raise", "raise_once", "progress", "wait_cancel", "slow"] = "return"


class Output(BaseModel):
    """The mark, and the run that answers."""

    n: str
    run: str


class TryLater(Exception):
    """An error that another attempt does not meet."""

    retryable = True


class Model:
    """Quick, but for what waits to be canceled."""

    max_batch = 4
    timeout_s = 30
    retry_backoff_s = 0.1
    example: ClassVar = {"n": "example"}

    def load(self, ctx):
        """Nothing to load."""

    def predict(self, batch, ctx):
        """Write the runs down, then act them out side by side."""
        runs = [os.urandom(8).hex() for _ in batch]
        rows = [
            {"job": job.id, "n": item.n, "run": run, "pid": os.getpid(), "wall": time.time()}
            for item, job, run in zip(batch, ctx.jobs, runs, strict=True)
        ]
        _write(rows)
        _pass_time(batch, ctx.jobs)
        pairs = zip(batch, ctx.jobs, runs, strict=True)
        return [_answer(item, job.id, run) for item, job, run in pairs]


def _pass_time(batch, jobs):
    if any(item.do == "slow" for item in batch):
        time.sleep(0.5)
    for item, job in zip(batch, jobs, strict=True):
        if item.do == "progress":
            job.progress(0.5, "half of it")
            time.sleep(0.15)
        end = time.monotonic() + 20
        while item.do == "wait_cancel" and not job.canceled and time.monotonic() < end:
            time.sleep(0.005)


def _answer(item, job_id, run):
    if item.do == "raise":
        return ValueError("told to fail")
    if item.do == "raise_once":
        marks = Path(f"{_LOG}.marks")
        marks.mkdir(exist_ok=True)
        if not (marks / job_id).exists():
            (marks / job_id).touch()
            return TryLater("told to fail once")
    return Output(n=item.n, run=run)


def _write(rows):
    lines = "".join(json.dumps(row) + "\n" for row in rows)
    # One write of a file opened for appending: lines of several workers do not mix.
    log = os.open(_LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    try:
        os.write(log, lines.encode())
    finally:
        os.close(log)
