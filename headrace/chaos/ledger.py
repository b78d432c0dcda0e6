"""A client's own book, on disk: what it was promised, and what it was told became of it."""

from __future__ import annotations

import json
import math
import os
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any, Self

from headrace.chaos.api import FINAL

#: What is compared when a final job is read again: none of it may ever change.
TOLD = ("status", "output", "finished_at", "attempt", "crashes")


class Ledger:
    """One line for each acknowledged id and for each final state seen, written before going on.

    The verdict needs nothing but this file: `Ledger.read` makes the same one again.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        #: job id -> what the client wanted to remember of it
        self.accepted: dict[str, Any] = {}
        self.outcomes: dict[str, dict[str, Any]] = {}
        self._open: set[str] = set()
        #: job id -> when its outcome was first known (monotonic)
        self._known: dict[str, float] = {}
        #: job id -> a final state that differs from the one seen before
        self.changed: dict[str, dict[str, Any]] = {}
        #: accepted jobs that the server did not know when asked for them by their id
        self.gone: set[str] = set()
        self.refused: Counter[str] = Counter()

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a ledger that was written before."""
        ledger = cls(path)
        for line in path.read_text().splitlines():
            ledger._take(json.loads(line))
        return ledger

    def accept(self, job_id: str, about: Any = None) -> None:
        """The server has acknowledged this job."""
        self._write({"accepted": job_id, "about": about})

    def accept_all(self, job_ids: list[str], about: list[Any]) -> None:
        """The server has acknowledged these jobs in one answer."""
        pairs = zip(job_ids, about, strict=True)
        self._write(*({"accepted": job_id, "about": each} for job_id, each in pairs))

    def refuse(self, why: str) -> None:
        """The server has refused a request, or gave no answer; counted, no promise was made."""
        with self._lock:
            self.refused[why] += 1

    def tell(self, *jobs: dict[str, Any], asked: float = math.inf) -> None:
        """The server has shown these jobs when asked at this (monotonic) time, else just now.

        A final state is held to the first that was seen. An answer that shows a job unfinished is
        a lie only if it was asked for after the job was known to be final: answers to two requests
        may come in any order.
        """
        lines = []
        for job in jobs:
            told = {name: job[name] for name in TOLD}
            told["code"] = (job.get("error") or {}).get("code")
            if job["status"] not in FINAL and asked <= self._known.get(job["id"], math.inf):
                continue
            if self.outcomes.get(job["id"]) != told:
                lines.append({"final": job["id"], **told})
        self._write(*lines)

    def miss(self, job_ids: set[str]) -> None:
        """The server was asked for these jobs and does not know them."""
        self._write(*({"gone": job_id} for job_id in sorted(job_ids)))

    def _write(self, *lines: dict[str, Any]) -> None:
        at = time.time()
        text = "".join(json.dumps({"at": at, **line}) + "\n" for line in lines)
        with self._lock:
            os.write(self._file, text.encode())
            for line in lines:
                self._take(line)

    def _take(self, line: dict[str, Any]) -> None:
        if "accepted" in line:
            self.accepted[line["accepted"]] = line["about"]
            if line["accepted"] not in self.outcomes:
                self._open.add(line["accepted"])
            return
        if "gone" in line:
            self.gone.add(line["gone"])
            return
        told = {name: value for name, value in line.items() if name not in {"at", "final"}}
        self._open.discard(line["final"])
        self._known.setdefault(line["final"], time.monotonic())
        if self.outcomes.setdefault(line["final"], told) != told:
            self.changed[line["final"]] = told

    @property
    def done(self) -> int:
        """How many outcomes are known."""
        return len(self.outcomes)

    @property
    def waiting(self) -> int:
        """How many accepted jobs have no outcome yet."""
        return len(self._open)

    def open(self) -> list[str]:
        """The accepted jobs whose outcome is not known."""
        with self._lock:
            return sorted(self._open)

    def everything(self) -> list[str]:
        """All accepted jobs."""
        with self._lock:
            return sorted(self.accepted)

    def verdict(self) -> dict[str, Any]:
        """Say in one line how it went."""
        return {
            "accepted": len(self.accepted),
            "lost": len(self.gone.union(self.open())),
            "two_outcomes": len(self.changed),
            "refused": dict(self.refused),
            "statuses": dict(Counter(str(told["status"]) for told in self.outcomes.values())),
        }

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)
