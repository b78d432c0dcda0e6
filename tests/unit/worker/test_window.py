"""How many jobs the next claim takes."""

from __future__ import annotations

from dataclasses import replace

import pytest

from worker.window import MOST_AHEAD, MOST_BYTES, MOST_CLAIMED, MOST_UNSETTLED, Plan, View, plan

IDLE = View(
    max_batch=8,
    by_cost=False,
    unstarted=0,
    started=0,
    unsettled=0,
    held_bytes=0,
    last_found=0,
    suspects=0,
    careful=0,
    seconds_per_job=None,
    batch_s=None,
    running_rest_s=None,
)
SHORT = replace(IDLE, started=8, seconds_per_job=0.01, batch_s=0.08, running_rest_s=0.05)
LONG = replace(IDLE, started=1, max_batch=1, seconds_per_job=20.0, batch_s=20.0)


def test_an_idle_engine_gets_a_batch_that_starts_with_its_claim():
    assert plan(IDLE) == Plan(8, start=True)


def test_a_model_that_sorts_by_cost_starts_one_at_once_in_a_quiet_time():
    assert plan(replace(IDLE, by_cost=True, last_found=1)) == Plan(1, start=True)


def test_a_model_that_sorts_by_cost_chooses_among_many_in_a_busy_time():
    assert plan(replace(IDLE, by_cost=True, last_found=30)) == Plan(30, start=False)


def test_nothing_is_held_behind_the_first_batch_of_all():
    assert plan(replace(IDLE, started=8)).count == 0


def test_a_second_of_short_jobs_is_held_ahead():
    assert plan(SHORT) == Plan(100)


def test_room_is_refilled_by_quarters():
    assert plan(replace(SHORT, unstarted=90)).count == 0
    assert plan(replace(SHORT, unstarted=70)).count == 30


def test_what_a_batch_lacks_is_claimed_however_little():
    tight = replace(SHORT, seconds_per_job=0.1, unstarted=7)
    assert plan(tight).count == 9


def test_two_batches_are_held_ahead_at_the_least():
    assert plan(replace(SHORT, seconds_per_job=0.5)).count == 16


def test_one_batch_is_held_ahead_of_batches_of_nearly_a_second():
    assert plan(replace(SHORT, seconds_per_job=0.5, batch_s=0.9)).count == 8


def test_claims_and_windows_are_bounded():
    fast = replace(SHORT, seconds_per_job=0.0)
    assert plan(fast).count == MOST_CLAIMED
    assert plan(replace(fast, unstarted=MOST_AHEAD)).count == 0


def test_nothing_waits_behind_a_long_job_until_it_is_about_to_end():
    assert plan(replace(LONG, running_rest_s=10.0)) == Plan(0, wake_s=pytest.approx(9.75))
    assert plan(replace(LONG, running_rest_s=0.2)).count == 1
    assert plan(replace(LONG, running_rest_s=0.2, unstarted=1)).count == 0


@pytest.mark.parametrize(
    "full",
    [{"unsettled": MOST_UNSETTLED}, {"held_bytes": MOST_BYTES}, {"suspects": 1}],
)
def test_claims_stop_while_results_wait_or_a_suspect_runs(full):
    assert plan(replace(SHORT, **full)) == Plan(0)
    assert plan(replace(IDLE, **full)) == Plan(0)


def test_after_an_unexplained_death_jobs_run_one_by_one():
    assert plan(replace(IDLE, careful=3)) == Plan(1, start=True)
    assert plan(replace(SHORT, careful=3)) == Plan(0)
