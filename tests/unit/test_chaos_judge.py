"""The judge of a campaign sees what must not be, and nothing else."""

from __future__ import annotations

import json
from datetime import UTC, datetime

import pytest

from headrace.chaos.faults import ALL, Fault, Plan, schedule
from headrace.chaos.judge import judge
from headrace.chaos.ledger import Ledger
from headrace.chaos.side_log import SideLog
from headrace.chaos.traffic import EVERYTHING, orders

JOB = "job_1"
#: the feeders of two workers
LIVES = {10: "worker-0", 20: "worker-1"}


def stamp(wall):
    return datetime.fromtimestamp(wall, UTC).isoformat(timespec="milliseconds")


class Books:
    """A ledger and a side log to write into; seconds count from 1,000."""

    def __init__(self, folder):
        self.ledger = Ledger(folder / "ledger.jsonl")
        self._log = folder / "runs.jsonl"
        self.faults = []

    def accept(self, job=JOB, kind="plain", may=("succeeded",), n=1):
        self.ledger.accept(job, {"n": n, "do": "return", "kind": kind, "may": list(may)})

    def told(self, status, output=None, at=9.0, job=JOB, code=None, **asked):
        error = {"code": code} if code else None
        self.ledger.tell(
            {
                "id": job,
                "status": status,
                "output": output,
                "error": error,
                "finished_at": stamp(1000 + at) if status != "running" else None,
                "attempt": 1,
                "crashes": 0,
            },
            **asked,
        )

    def ran(self, run, began, ended=None, feeder=10, job=JOB):
        row = {"job": job, "run": run, "pid": feeder + 1, "feeder": feeder, "do": "return"}
        lines = [{"what": "begin", "at": began, "wall": 1000 + began, **row}]
        if ended is not None:
            lines.append({"what": "end", "at": ended, "wall": 1000 + ended, **row})
        with self._log.open("a") as log:
            log.writelines(json.dumps(line) + "\n" for line in lines)

    def fault(self, victim, at, until, kind="kill", role="feeder"):
        asleep_s = 0.0 if kind == "kill" else until - at
        plan = Plan(number=0, role=role, which=0, kind=kind, asleep_s=asleep_s)
        self.faults.append(Fault(plan=plan, victim=victim, pid=1, at=at, until=until, hit=True))

    def judged(self):
        return judge(self.ledger, SideLog(self._log), self.faults, LIVES)

    def wrongs(self):
        found = self.judged()
        names = ("lost", "two_outcomes", "wrong", "stale_writes", "unexplained_reruns", "strangers")
        return {name for name in names if getattr(found, name)}


@pytest.fixture
def books(tmp_path):
    return Books(tmp_path)


def test_a_job_that_ran_once_and_succeeded_is_as_it_should_be(books):
    books.accept()
    books.ran("a", 1, 2)
    books.told("succeeded", {"n": 1, "run": "a"})
    assert books.wrongs() == set()


def test_an_acknowledged_job_without_an_outcome_is_lost(books):
    books.accept()
    books.told("running")
    assert books.wrongs() == {"lost"}


def test_a_job_that_is_not_known_any_more_is_lost(books):
    books.accept()
    books.ran("a", 1, 2)
    books.told("succeeded", {"n": 1, "run": "a"})
    books.ledger.miss({JOB})
    assert books.wrongs() == {"lost"}


@pytest.mark.parametrize(
    ("status", "output"),
    [("succeeded", {"n": 1, "run": "b"}), ("canceled", None), ("running", None)],
)
def test_another_state_or_output_after_the_end_is_a_second_outcome(books, status, output):
    books.accept()
    books.ran("a", 1, 2)
    books.told("succeeded", {"n": 1, "run": "a"})
    books.told(status, output)
    assert books.wrongs() == {"two_outcomes"}


def test_a_late_answer_to_an_early_question_is_no_second_outcome(books):
    books.accept()
    books.ran("a", 1, 2)
    books.told("succeeded", {"n": 1, "run": "a"})
    books.told("running", asked=0.0)
    assert books.wrongs() == set()


@pytest.mark.parametrize(
    ("status", "output", "code"),
    [
        ("failed", None, "model_error"),
        ("succeeded", {"n": 2, "run": "a"}, None),
        ("succeeded", {"n": 1, "run": "nobody's"}, None),
        ("failed", None, "poisoned"),
    ],
)
def test_an_outcome_that_the_job_cannot_have_is_wrong(books, status, output, code):
    books.accept()
    books.ran("a", 1, 2)
    books.told(status, output, code=code)
    assert books.wrongs() == {"wrong"}


def test_a_job_that_died_three_times_may_be_convicted(books):
    books.accept()
    for number in range(3):
        books.ran(str(number), number * 20)
        books.fault("worker-0", number * 20 + 1, number * 20 + 2)
    books.told("failed", at=50, code="poisoned")
    assert books.wrongs() == set()
    assert [each["job"] for each in books.judged().convicted] == [JOB]


def test_a_result_of_a_run_that_another_had_taken_over_is_a_stale_write(books):
    books.accept()
    books.fault("worker-0", 1.5, 5.5, "long freeze")
    books.ran("a", 1, 5.6, feeder=10)
    books.ran("b", 5, 7, feeder=20)
    books.told("succeeded", {"n": 1, "run": "a"}, at=5.7)
    assert books.wrongs() == {"stale_writes"}


def test_a_run_that_began_after_the_outcome_took_nothing_over(books):
    books.accept()
    books.fault("worker-0", 1.5, 5.5)
    books.ran("a", 1, 2)
    books.ran("b", 5, 7)
    books.told("succeeded", {"n": 1, "run": "a"}, at=4.9)
    assert books.wrongs() == set()


def test_a_worker_just_woken_may_begin_what_is_not_its_own_any_more(books):
    books.accept()
    books.fault("worker-0", 0.5, 5.5, "long freeze")
    books.ran("b", 5, 7, feeder=20)
    books.ran("a", 5.6, 6, feeder=10)
    books.told("succeeded", {"n": 1, "run": "b"}, at=7)
    assert books.wrongs() == set()


@pytest.mark.parametrize(
    ("victim", "at", "explained"),
    [
        ("worker-0", 2.1, True),
        ("redis", 2.1, True),
        ("worker-1", 2.1, False),
        ("api-0", 2.1, False),
        ("worker-0", 30.0, False),
    ],
)
def test_only_a_fault_of_its_worker_or_of_redis_explains_a_rerun(books, victim, at, explained):
    books.accept()
    books.ran("a", 1, 2)
    books.ran("b", 31, 32)
    books.fault(victim, at, at + 0.5)
    books.told("succeeded", {"n": 1, "run": "b"}, at=33)
    assert books.wrongs() == (set() if explained else {"unexplained_reruns"})


@pytest.mark.parametrize(("kind", "explained"), [("crash_once", True), ("plain", False)])
def test_a_crash_of_a_batch_mate_explains_a_rerun(books, kind, explained):
    books.accept()
    books.accept("job_2", kind=kind)
    books.ran("a", 1)
    books.ran("a2", 1, job="job_2")
    books.ran("b", 3, 4)
    books.ran("b2", 5, 6, job="job_2")
    books.told("succeeded", {"n": 1, "run": "b"}, at=4)
    books.told("succeeded", {"n": 1, "run": "b2"}, at=6, job="job_2")
    found = {each["job"] for each in books.judged().unexplained_reruns}
    assert found == (set() if explained else {JOB, "job_2"})


def test_a_job_that_ran_and_was_never_acknowledged_is_a_stranger(books):
    books.ran("a", 1, 2)
    assert books.wrongs() == {"strangers"}


def test_a_ledger_read_from_its_file_gives_the_same_verdict(books):
    books.accept()
    books.accept("job_2")
    books.told("succeeded", {"n": 1, "run": "a"})
    books.told("canceled")
    assert Ledger.read(books.ledger.path).verdict() == books.ledger.verdict()


def test_a_seed_repeats_its_faults_and_its_jobs():
    roles = {"api": 2, "engine": 2, "feeder": 2, "redis": 1}
    first, again, other = (schedule(seed, 200, ALL, roles, 3.0) for seed in (7, 7, 8))
    assert first == again != other
    assert {plan.role for plan in first} == set(roles)
    assert list(orders(7, 500, EVERYTHING)) == list(orders(7, 500, EVERYTHING))
