"""When an engine is killed for one job's sake."""

from __future__ import annotations

from dataclasses import replace

import pytest

from worker.backoff import Backoff
from worker.ladder import KILL_WINDOW_S, MOST_KILLS, KillBudget, Standing, limit_s, must_kill

OVERDUE = Standing(
    flagged_for_s=6.0,
    elapsed_s=20.0,
    grace_s=5.0,
    rest_s=20.0,
    reload_s=3.0,
    capped=False,
    model_limit_s=300.0,
)


def test_a_job_that_goes_on_after_its_grace_is_killed():
    assert must_kill(OVERDUE)


def test_nothing_is_killed_within_the_grace():
    assert not must_kill(replace(OVERDUE, flagged_for_s=4.9))


def test_a_batch_that_ends_sooner_than_a_reload_is_let_run():
    assert not must_kill(replace(OVERDUE, rest_s=2.9))


def test_a_tenant_without_kills_left_waits_for_the_model_s_own_limit():
    capped = replace(OVERDUE, capped=True)
    assert not must_kill(capped)
    assert must_kill(replace(capped, elapsed_s=301.0))


@pytest.mark.parametrize(
    ("timeout_s", "expected_s", "limit"),
    [(30, None, 30), (0.1, None, 1), (1, 4, 8), (30, 4, 30)],
)
def test_a_limit_is_never_under_a_second_or_twice_the_usual_time(timeout_s, expected_s, limit):
    assert limit_s(timeout_s, expected_s) == limit


def test_kills_are_counted_for_each_tenant_and_forgiven_in_time():
    budget = KillBudget()
    for second in range(MOST_KILLS):
        assert not budget.spent("a", second)
        budget.spend("a", second)
    assert budget.spent("a", MOST_KILLS)
    assert not budget.spent("b", MOST_KILLS)
    assert not budget.spent("a", KILL_WINDOW_S + 0.5)
    assert not budget.spent("a", 10 * KILL_WINDOW_S)
    assert budget._kills == {}


def test_pauses_double_up_to_the_longest_and_begin_anew():
    backoff = Backoff(1.0, 10.0, free=1)
    assert [backoff.next_s() for _ in range(6)] == [0, 1, 2, 4, 8, 10]
    backoff.reset()
    assert backoff.next_s() == 0
