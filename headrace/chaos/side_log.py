"""What the model itself says of its runs: the side log, read while it grows."""

from __future__ import annotations

import json
import threading
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path


@dataclass(slots=True)
class Run:
    """One call of predict with one job. `began` and `ended` are monotonic, for the machine."""

    job: str
    run: str
    pid: int
    feeder: int
    do: str
    began: float
    began_wall: float
    ended: float | None = None


class SideLog:
    """Every run of every job, and which are open now."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._lock = threading.Lock()
        self._runs: dict[str, Run] = {}
        #: engine -> the runs of its batch that have not ended; those of a dead engine stay
        self._open: defaultdict[int, set[str]] = defaultdict(set)
        self._by_engine: defaultdict[int, list[Run]] = defaultdict(list)
        #: job id -> its runs in the order in which they began
        self.by_job: defaultdict[str, list[Run]] = defaultdict(list)

    def poll(self) -> None:
        """Take in what was written since."""
        with self._lock:
            if not self._path.exists():
                return
            with self._path.open("rb") as file:
                file.seek(self._read)
                # The last line may still be on its way.
                text, end, _ = file.read().rpartition(b"\n")
            self._read += len(text) + len(end)
            for line in text.splitlines():
                self._take(json.loads(line))

    def _take(self, line: dict[str, object]) -> None:
        name, at = str(line["run"]), float(str(line["at"]))
        if line["what"] == "end":
            run = self._runs[name]
            run.ended = at
            self._open[run.pid].discard(name)
            return
        run = Run(
            job=str(line["job"]),
            run=name,
            pid=int(str(line["pid"])),
            feeder=int(str(line["feeder"])),
            do=str(line["do"]),
            began=at,
            began_wall=float(str(line["wall"])),
        )
        self._runs[name] = run
        open_ = self._open[run.pid]
        # An engine runs one batch at a time: what is open from before is of a dead one, whose pid
        # was given away again.
        if any(self._runs[each].began != at for each in open_):
            open_.clear()
        open_.add(name)
        self._by_engine[run.pid].append(run)
        self.by_job[run.job].append(run)

    def busy(self, engine: int) -> bool:
        """Whether this engine is in the middle of a run."""
        self.poll()
        return bool(self._open[engine])

    def overtaken(self, engine: int, since: float) -> bool:
        """Whether a job of this engine is in the middle of a run on another one now."""
        self.poll()
        names = [name for pid, open_ in self._open.items() if pid != engine for name in open_]
        return any(
            run.began > since and any(each.pid == engine for each in self.by_job[run.job])
            for run in map(self._runs.__getitem__, names)
        )

    def in_a_run(self, engine: int, at: float) -> bool:
        """Whether this engine, which lived at that time, was in the middle of a run."""
        self.poll()
        for run in reversed(self._by_engine[engine]):
            if run.began <= at:
                return run.ended is None or run.ended > at
        return False

    def runs(self) -> list[Run]:
        """All runs but those of the warm-up, which belong to no job."""
        return [run for runs in self.by_job.values() for run in runs if run.job[:4] == "job_"]
