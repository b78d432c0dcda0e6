"""Printing jobs, tables and JSON."""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table

from headrace.client.errors import JobFailed
from headrace.client.sync import Job

_POLL_S = 0.1


def print_json(value: Any) -> None:
    """Print JSON: indented for a person, one line for a program."""
    indent = 2 if sys.stdout.isatty() else None
    print(json.dumps(value, indent=indent, ensure_ascii=False))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print a table; the full width, so that ids stay whole in a pipe."""
    table = Table(*columns, box=None, pad_edge=False)
    for row in rows:
        table.add_row(*("" if cell is None else str(cell) for cell in row))
    width = None if sys.stdout.isatty() else 10_000
    Console(width=width, markup=False, highlight=False).print(table, crop=False)


def print_job(job: Job, *, as_json: bool) -> None:
    """Print a job in one line, or whole."""
    if as_json:
        print_json(job.data)
    else:
        print(job.id, job.status)


def print_result(job: Job, *, as_json: bool) -> None:
    """Print the output of a job that ended, or the whole job; JobFailed if it did not succeed."""
    if as_json:
        print_json(job.data)
    failure = job.failure()
    if failure is not None:
        raise failure
    if not as_json:
        print_json(job.output)


def finish(job: Job, *, told: bool, as_json: bool) -> None:
    """Wait until the job has ended and print its result, with its changes meanwhile if wanted."""
    if told:
        _follow(job)
    else:
        with contextlib.suppress(JobFailed):
            job.wait()
    print_result(job, as_json=as_json)


def _follow(job: Job) -> None:
    told = ""
    while True:
        line = _line(job)
        if line != told:
            told = line
            print(line, file=sys.stderr, flush=True)
        if job.final:
            return
        asked = time.monotonic()
        job.refresh(wait=1)
        # A server that drains answers at once: it must not be asked in a tight loop.
        if time.monotonic() - asked < _POLL_S:
            time.sleep(_POLL_S)


def _line(job: Job) -> str:
    fraction, message = job.progress
    share = "" if fraction is None else f"{fraction:.0%}"
    return " ".join(word for word in (job.id, job.status, share, message) if word)
