"""The verdict of a campaign, from the client's ledger, the model's side log and the fault log.

Nothing that Headrace counts itself is asked. What is looked for:

- lost: acknowledged, and without a final state at the end, or unknown when asked for by its id.
- two outcomes: a final state, output or error that was another one when read again.
- wrong: an outcome that this job cannot have, or an output that none of its runs made.
- stale write accepted: the output comes from a run after which another run of the same job had
  begun before the outcome was recorded. A run begins only after its claim has taken the job over
  from the one before, so from then on the earlier run's result must be refused. A worker that was
  asleep between its claim and the run may begin what is not its own any more: such a run takes
  nothing over, and counts as a rerun alone.
- unexplained rerun: a second run that neither the job asked for (a retryable error, its own crash,
  a batch mate's crash, cancel or time limit) nor a logged fault of its worker or of Redis explains.
- stranger: a job that ran and was never acknowledged: one key must not make two jobs.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from headrace.chaos.faults import Fault
from headrace.chaos.ledger import Ledger
from headrace.chaos.side_log import Run, SideLog

#: seconds after a fault in which its effect may be seen: a delivery pauses for at most 2
AFTER_S = 4.0
#: crashes that convict, the default
MAX_CRASHES = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What is wrong, each with enough to look into it."""

    lost: list[str]
    two_outcomes: list[str]
    wrong: list[dict[str, Any]]
    stale_writes: list[dict[str, Any]]
    unexplained_reruns: list[dict[str, Any]]
    strangers: list[str]
    #: not wrong: jobs that did nothing and were convicted, since faults hit them again and again
    convicted: list[dict[str, Any]]
    reruns: int
    runs: int


def judge(
    ledger: Ledger, log: SideLog, faults: Sequence[Fault], lives: Mapping[int, str]
) -> Findings:
    """Compare the three books."""
    log.poll()
    runs = log.runs()
    blame = Blame(ledger, runs, faults, lives)
    wrong, stale, convicted = [], [], []
    for job_id, told in ledger.outcomes.items():
        mine = log.by_job.get(job_id, [])
        why = _wrong(ledger.accepted[job_id], told, mine)
        if why == "poisoned" and blame.deaths(mine, told) >= MAX_CRASHES:
            convicted.append({"job": job_id, "runs": [_told(run, lives) for run in mine]})
        elif why:
            wrong.append({"job": job_id, "why": why, **told, "about": ledger.accepted[job_id]})
        later = _stale(told, mine)
        if later and not blame.just_woken(later):
            stale.append({"job": job_id, "output": told["output"], "later": later.run})
    reruns = [(before, run) for mine in log.by_job.values() for before, run in _pairs(mine)]
    return Findings(
        lost=sorted(ledger.gone.union(ledger.open())),
        two_outcomes=sorted(ledger.changed),
        wrong=wrong,
        stale_writes=stale,
        unexplained_reruns=[
            {"job": run.job, "before": _told(before, lives), "again": _told(run, lives)}
            for before, run in reruns
            if not blame.explains(before, run)
        ],
        strangers=sorted({run.job for run in runs} - ledger.accepted.keys()),
        convicted=convicted,
        reruns=len(reruns),
        runs=len(runs),
    )


def _pairs(mine: list[Run]) -> Iterable[tuple[Run, Run]]:
    if not mine or not mine[0].job.startswith("job_"):
        return ()
    return itertools.pairwise(mine)


def _told(run: Run, lives: Mapping[int, str]) -> dict[str, Any]:
    return {
        "run": run.run,
        "worker": lives.get(run.feeder, "?"),
        "pid": run.pid,
        "began": run.began,
        "ended": run.ended,
    }


def _wrong(about: Mapping[str, Any], told: Mapping[str, Any], mine: list[Run]) -> str:
    status = told["status"]
    if status == "failed" and told["code"] == "poisoned" and "failed" not in about["may"]:
        return "poisoned"
    if status not in about["may"]:
        return f"may not be {status}"
    if status == "failed" and told["code"] != "model_error":
        return f"failed with {told['code']}"
    if status == "succeeded":
        output = told["output"]
        if output["n"] != about["n"]:
            return "another job's output"
        if output["run"] not in {run.run for run in mine}:
            return "an output that no run made"
    return ""


def _stale(told: Mapping[str, Any], mine: list[Run]) -> Run | None:
    """The run that had taken the job over when an earlier one's output was recorded."""
    if told["status"] != "succeeded":
        return None
    recorded = _wall(told)
    names = [run.run for run in mine]
    if told["output"]["run"] not in names:
        return None
    after = mine[names.index(told["output"]["run"]) + 1 :]
    # `finished_at` is cut to milliseconds, so what began before it is certain to have done so.
    return next((run for run in after if run.began_wall < recorded), None)


def _wall(told: Mapping[str, Any]) -> float:
    return datetime.fromisoformat(told["finished_at"]).timestamp()


class Blame:
    """Why a job ran again."""

    def __init__(
        self,
        ledger: Ledger,
        runs: Iterable[Run],
        faults: Iterable[Fault],
        lives: Mapping[int, str],
    ) -> None:
        self._lives = lives
        #: unit ("worker-0", "redis") -> its faults
        self._faults: dict[str, list[Fault]] = {}
        for fault in faults:
            self._faults.setdefault(fault.victim, []).append(fault)
        self._kinds = {job: about["kind"] for job, about in ledger.accepted.items()}
        #: engine -> its runs that may have ended it, or did
        self._culprits: dict[int, list[Run]] = {}
        for run in runs:
            if self._kinds.get(run.job) in {"crash_once", "cancel"}:
                self._culprits.setdefault(run.pid, []).append(run)

    def explains(self, before: Run, again: Run) -> bool:
        """Whether something that is known made this job run again."""
        if self._kinds.get(before.job) == "error_once" and before.ended is not None:
            return True
        # A run that ended is recorded at once, unless a fault comes between.
        last = again.began if before.ended is None else min(again.began, before.ended + AFTER_S)
        if self._by_a_mate(before, last):
            return True
        units = {self._lives.get(run.feeder, "?") for run in (before, again)} | {"redis"}
        return any(
            fault.at <= last and fault.until + AFTER_S >= before.began
            for unit in units
            for fault in self._faults.get(unit, ())
        )

    def deaths(self, mine: list[Run], told: Mapping[str, Any]) -> int:
        """How many faults may have been charged to a job before it ended: a worker's or engine's.

        A job is charged for its worker's death from its start until its outcome is recorded, which
        is longer than its run: one that was killed before its first line is not in the log.
        """
        if not mine:
            return 0
        # The two clocks of this machine, as the job's first run read them.
        last = _wall(told) - mine[0].began_wall + mine[0].began
        by_a_mate = sum(
            run.do == "crash_once" and run.ended is None
            for pid in {run.pid for run in mine}
            for run in self._culprits.get(pid, ())
        )
        return by_a_mate + sum(
            fault.plan.role in {"engine", "feeder"}
            and fault.plan.kind != "freeze"
            and mine[0].began - AFTER_S <= fault.at <= last
            for faults in self._faults.values()
            for fault in faults
        )

    def just_woken(self, run: Run) -> bool:
        """Whether its worker had been asleep: then it may begin what others took over meanwhile."""
        unit = self._lives.get(run.feeder, "?")
        return any(
            fault.plan.asleep_s and fault.at <= run.began <= fault.until + AFTER_S
            for fault in self._faults.get(unit, ())
        )

    def _by_a_mate(self, before: Run, last: float) -> bool:
        """Whether another job ended that engine: in the same batch, or before it had reported."""
        return any(
            mate.ended is None and before.began - AFTER_S <= mate.began <= last
            for mate in self._culprits.get(before.pid, ())
        )
