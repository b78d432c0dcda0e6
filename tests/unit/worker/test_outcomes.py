"""What becomes of a job: by what the engine said, or by how it died."""

from __future__ import annotations

import json

import pytest

from jobs.states import Priority
from jobs.worker_queue import Claimed
from worker.aftermath import Death, judge
from worker.holding import Held, Holding, Phase
from worker.outcomes import outcome_of
from worker.rules import ModelLimits, Rules

RULES = Rules(max_attempts=3, max_result_bytes=100, cancel_grace_s=1, beat_limit_s=10, drain_s=30)
LIMITS = ModelLimits(retry_backoff_s=5.0)
CRASH = Death("sigkill", ordered=False, exit_code=-9, served=True)
ORDER = Death("cancel", ordered=True, exit_code=-9, served=True)


def claimed(identifier: str = "job_1", *, attempt: int = 1, token: str = "t1") -> Claimed:
    return Claimed(
        id=identifier,
        token=token,
        input=b"{}",
        tenant="default",
        priority=Priority.NORMAL,
        attempt=attempt,
        crashes=0,
        timeout_s=30.0,
        deadline_at=None,
        request_id="req_1",
        created_at=0,
        started=False,
    )


def held(phase: Phase = Phase.ON_GPU, **given: object) -> Held:
    flags = {name: given.pop(name) for name in ("alone", "canceled", "timed_out") if name in given}
    made = Held(claimed(**given), 1, phase, since=0.0, size=2)
    for name, value in flags.items():
        setattr(made, name, value)
    return made


def outcome(job: Held, output: bytes | None = None, error: dict | None = None):
    return outcome_of(job, output, error, RULES, LIMITS)


def test_an_output_is_a_success():
    made, code = outcome(held(), b'{"a":1}')
    assert (made.kind, made.payload, made.token, code) == ("succeeded", b'{"a":1}', "t1", "")


def test_an_output_over_the_limit_is_a_failure_that_names_the_limit():
    made, code = outcome(held(), b"x" * 101)
    assert (made.kind, code) == ("failed", "result_too_large")
    assert "100" in json.loads(made.payload)["detail"]


def test_an_error_becomes_a_problem_object_with_its_members():
    error = {"code": "invalid_input", "detail": "no", "errors": [{"type": "missing"}]}
    made, code = outcome(held(), error=error)
    body = json.loads(made.payload)
    assert (made.kind, code) == ("failed", "invalid_input")
    assert body["errors"] == [{"type": "missing"}]
    assert (body["job_id"], body["request_id"], body["fault"]) == ("job_1", "req_1", "client")
    assert body["type"] == "urn:headrace:error:invalid_input"
    assert "status" not in body


def test_an_unknown_code_is_the_model_s_error():
    made, code = outcome(held(), error={"code": "whatever", "detail": "x"})
    assert (made.kind, code) == ("failed", "model_error")


def test_a_retryable_error_waits_longer_each_time():
    error = {"code": "model_error", "detail": "busy", "retryable": True}
    pauses = [outcome(held(attempt=n), error=error)[0].backoff_s for n in (1, 2)]
    assert pauses == [5.0, 10.0]
    made, _ = outcome(held(), error=error)
    assert (made.code, made.detail) == ("model_error", "busy")


def test_the_last_attempt_s_error_is_told():
    error = {"code": "model_error", "detail": "busy", "retryable": True}
    made, code = outcome(held(attempt=3), error=error)
    assert (made.kind, code, made.code) == ("failed", "attempts_exhausted", "model_error")
    assert "busy" in json.loads(made.payload)["detail"]


def test_a_job_over_its_limit_has_timed_out_whatever_it_gave():
    made, code = outcome(held(timed_out=True), b"{}")
    assert (made.kind, code) == ("timed_out", "timed_out")
    killed, _ = outcome_of(held(timed_out=True), None, None, RULES, LIMITS, "Thread 1")
    assert (killed.code, killed.detail) == ("timed_out", "Thread 1")
    assert b"Thread" not in killed.payload


@pytest.mark.parametrize("error", [None, {"code": "canceled", "detail": "", "retryable": True}])
def test_a_job_that_was_canceled_off_the_gpu_is_canceled(error):
    assert outcome(held(canceled=True), error=error)[0].kind == "canceled"


def test_a_crash_is_charged_to_the_batch_on_the_gpu_alone():
    on_gpu, waiting, fed = (
        held(identifier="a"),
        held(Phase.STARTED, identifier="b"),
        held(Phase.FED, identifier="c"),
    )
    after = judge([on_gpu, waiting, fed], CRASH)
    assert {back.id: back.charge for _, back in after.back} == {"a": True, "b": False, "c": False}
    assert not after.unexplained


def test_with_nothing_on_the_gpu_those_allowed_onto_it_are_charged():
    after = judge([held(Phase.STARTED, identifier="a"), held(Phase.FED, identifier="b")], CRASH)
    assert {back.id: back.charge for _, back in after.back} == {"a": True, "b": False}


def test_a_death_on_no_started_job_is_unexplained():
    after = judge([held(Phase.FED)], CRASH)
    assert after.unexplained
    assert [back.charge for _, back in after.back] == [False]
    assert not judge([held(Phase.ASIDE)], CRASH).unexplained


def test_only_a_job_that_was_alone_can_be_convicted():
    after = judge([held(identifier="a", alone=True)], CRASH)
    assert after.back[0][1].alone


def test_a_kill_charges_nobody_and_ends_those_it_was_for():
    canceled, timed_out = held(identifier="a", canceled=True), held(identifier="b", timed_out=True)
    after = judge([canceled, timed_out, held(identifier="c")], ORDER)
    assert after.ended == [canceled, timed_out]
    assert [(back.id, back.charge) for _, back in after.back] == [("c", False)]


LATE = Death("timeout", ordered=True, exit_code=-9, served=True, detail="Thread 1\n  in predict")


def test_of_a_crowd_over_its_limit_each_runs_alone_before_one_has_timed_out():
    culprit, mate = held(identifier="a", timed_out=True), held(identifier="b")
    after = judge([culprit, mate, held(Phase.FED, identifier="c")], LATE)
    assert after.ended == []
    assert {back.id: back.charge for _, back in after.back} == {"a": True, "b": True, "c": False}
    after = judge([culprit, held(Phase.FED, identifier="c")], LATE, began=1)
    assert after.ended == [culprit]


def test_the_last_of_a_batch_that_ran_in_pieces_was_not_alone_on_its_clock():
    last = held(identifier="a", timed_out=True)
    after = judge([last, held(Phase.FED, identifier="c")], LATE, began=2)
    assert after.ended == []
    assert {back.id: back.charge for _, back in after.back} == {"a": True, "c": False}


def test_why_an_attempt_ended_goes_with_the_jobs_that_were_at_work():
    after = judge([held(identifier="a"), held(Phase.FED, identifier="b")], LATE)
    assert after.ended == []
    assert [(back.reason, back.detail) for _, back in after.back] == [
        ("timeout", LATE.detail),
        ("timeout", ""),
    ]


def test_results_on_their_way_are_left_alone():
    after = judge([held(Phase.SETTLING), held(Phase.RETURNING)], CRASH)
    assert (after.ended, after.back) == ([], [])


def test_a_holding_counts_by_phase_and_in_bytes():
    holding = Holding()
    first = holding.add(claimed("a"), Phase.FED, 0.0)
    holding.add(claimed("b"), Phase.FED, 0.0)
    holding.move(first, Phase.ON_GPU)
    holding.grow(first, 10)
    assert (holding.count(Phase.FED), holding.count(Phase.ON_GPU), holding.bytes) == (1, 1, 14)
    assert [each.id for each in holding.of([1, 2, 3], Phase.FED)] == ["b"]
    holding.forget(first)
    holding.forget(first)
    assert (holding.count(*Phase), holding.bytes) == (1, 2)


def test_a_job_that_comes_back_is_not_forgotten_with_its_old_token():
    holding = Holding()
    old = holding.add(claimed("a", token="t1"), Phase.RETURNING, 0.0)
    new = holding.add(claimed("a", token="t2"), Phase.FED, 1.0)
    holding.forget(old)
    assert holding.jobs == {"a": new}
    assert (holding.count(*Phase), holding.bytes) == (1, 2)
