"""One poisonous job in a batch of 32: the others succeed, and it alone is found to be the culprit.

What ran comes from the model's own log, the rest from what a client is told.
"""

from __future__ import annotations

import itertools
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from headrace.chaos.process import Process, until
from headrace.chaos.stack import FINAL, Api, Stack

from .sizes import FULL, report

POISON = Path(__file__).parent / "models" / "poison"
SIZE = 32
CULPRIT = 17
#: seconds that the 31 may take to run one by one, without the loads of the model
ONE_BY_ONE_S = 10.0


@dataclass(frozen=True)
class Kind:
    """What the culprit does, and what has to become of it."""

    do: str
    code: str
    status: str = "failed"
    crashes: int = 0
    #: why each of its attempts ended
    reasons: tuple[str, ...] = ()
    #: what an admin reads of the last one
    tells: str = ""
    #: seconds until all is over
    within_s: float = 100.0
    settings: dict[str, str] = field(default_factory=dict)
    #: each life of the worker has a name of its own, as pods have
    new_names: bool = False


LOST = ("worker_lost",) * 3
KINDS = {
    "exception": Kind("exception", "model_error", reasons=("model_error",)),
    "invalid_output": Kind("invalid_output", "invalid_output", reasons=("invalid_output",)),
    "wrong_count": Kind("wrong_count", "invalid_output", reasons=("invalid_output",)),
    "oom": Kind("oom", "input_too_large", reasons=("input_too_large",)),
    "exit": Kind("exit", "poisoned", crashes=3, reasons=("exit_3",) * 3),
    "segfault": Kind(
        "segfault", "poisoned", crashes=3, reasons=("sigsegv",) * 3, tells="in string_at"
    ),
    "hang": Kind(
        "hang", "timed_out", "timed_out", crashes=1, reasons=("timeout", "timed_out"),
        tells="in spin", settings={"cancel_grace_s": "1"},
    ),
    "hang in native code": Kind(
        "stuck", "timed_out", "timed_out", crashes=1, reasons=("timeout", "timed_out"),
        tells="in stick", settings={"cancel_grace_s": "1"},
    ),
    "worker": Kind("worker", "poisoned", crashes=3, reasons=("worker_restarted",) * 3),
    "pod": Kind(
        "worker", "poisoned", crashes=3, reasons=LOST, settings={"beat_limit_s": "1"},
        new_names=True,
    ),
}  # fmt: skip
if FULL:
    KINDS["pod, default limit"] = Kind(
        "worker", "poisoned", crashes=3, reasons=LOST, new_names=True
    )


class Case:
    """A worker that is started again whenever it is gone, and a batch with one culprit in it."""

    def __init__(self, stack: Stack, kind: Kind) -> None:
        self._stack = stack
        self._kind = kind
        self._names = itertools.count(1)
        self.api: Api = stack.api()
        self.workers: list[Process] = []
        self.start()
        self.api.ready("poison")

    def start(self) -> None:
        """Start a worker: again under its name, or as another one."""
        name = f"w{next(self._names)}" if self._kind.new_names else "w"
        settings = {"worker_name": name, "data_dir": name, **self._kind.settings}
        self.workers.append(self._stack.worker(POISON, **settings))

    def submit(self) -> tuple[str, list[str]]:
        """The culprit and its mates, accepted together; a hang is over its limit soon."""
        inputs: list[dict[str, Any]] = [{"n": n} for n in range(SIZE)]
        inputs[CULPRIT]["do"] = self._kind.do
        body = {"inputs": inputs, **({"timeout_s": 2} if self._kind.status == "timed_out" else {})}
        answer = self.api.call("POST", "/v1/models/poison/jobs/batch", json=body)
        assert answer.status_code == 202, answer.text
        ids = [job["id"] for job in answer.json()["jobs"]]
        return ids.pop(CULPRIT), ids

    def ended(self, ids: list[str]) -> list[dict[str, Any]]:
        """Wait until all are final; a worker that is gone is started again."""

        def all_final() -> list[dict[str, Any]]:
            if self.workers[-1].exit_code is not None:
                self.start()
            jobs = [self.api.get(each) for each in ids]
            return jobs if all(job["status"] in FINAL for job in jobs) else []

        return until(all_final, self._kind.within_s, "every job is final")

    def log(self, what: str) -> list[dict[str, Any]]:
        """What the model has written down."""
        lines = [json.loads(line) for line in self._stack.side_log.read_text().splitlines()]
        return [line for line in lines if line["what"] == what]


@pytest.fixture(params=KINDS)
def case(request: pytest.FixtureRequest, stack: Stack) -> tuple[Kind, Case]:
    """One kind of poison."""
    kind = KINDS[request.param]
    return kind, Case(stack, kind)


def test_the_mates_of_a_poisonous_job_succeed_and_it_alone_is_convicted(
    case: tuple[Kind, Case], request: pytest.FixtureRequest
) -> None:
    kind, running = case
    began = time.monotonic()
    culprit_id, mate_ids = running.submit()
    culprit, *mates = running.ended([culprit_id, *mate_ids])
    took_s = time.monotonic() - began

    runs = [line for line in running.log("run") if any(n > 0 for n in line["n"])]
    loads = running.log("load")
    together = [line for line in runs if len(line["n"]) == SIZE]
    singles = [line for line in runs if len(line["n"]) == 1]
    alone_s = sum(
        max(each["at"] for each in of_one) - min(each["at"] for each in of_one)
        for _, group in itertools.groupby(singles, key=lambda line: line["pid"])
        if (of_one := list(group))
    )
    succeeded = sum(mate["status"] == "succeeded" for mate in mates)
    report(
        "poison", succeeded == SIZE - 1 and culprit["status"] == kind.status,
        kind=request.node.callspec.id, succeeded=succeeded, crashes=culprit["crashes"],
        loads=len(loads), seconds=round(took_s, 1), one_by_one_s=round(alone_s, 2),
    )  # fmt: skip

    assert succeeded == SIZE - 1
    assert [mate["output"] for mate in mates] == [{"n": n} for n in range(SIZE) if n != CULPRIT]
    assert max(mate["crashes"] for mate in mates) <= 1
    assert len(together) == 1, "all were in one batch, once"
    assert (culprit["status"], culprit["error"]["code"]) == (kind.status, kind.code)
    assert culprit["crashes"] == kind.crashes
    # A load for each death, and none for each mate.
    assert len(loads) == 1 + len([each for each in kind.reasons if kind.crashes])
    assert alone_s < ONE_BY_ONE_S

    letter = running.api.call("GET", f"/v1/admin/dead/{culprit_id}").json()
    assert tuple(each["reason"] for each in letter["attempts"]) == kind.reasons
    assert kind.tells in letter["attempts"][-1]["detail"]
    assert all(each["worker"] for each in letter["attempts"])
