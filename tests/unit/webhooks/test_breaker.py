"""A dead receiver is left alone, asked again now and then, and forgotten."""

from __future__ import annotations

import pytest

from webhooks.breaker import MOST_AT_ONCE, MOST_REMEMBERED, MOST_WHILE_FAILING, Breaker


class Clock:
    def __init__(self):
        self.now = 100.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def breaker(clock):
    return Breaker(clock)


def opened(breaker):
    return [breaker.failed("a") for _ in range(10)]


def test_ten_failures_in_a_row_open_it(breaker):
    assert breaker.most("a") == MOST_AT_ONCE
    assert opened(breaker) == [False] * 9 + [True]
    assert breaker.most("a") == 0
    assert breaker.most("b") == MOST_AT_ONCE


def test_one_that_fails_gets_fewer_at_once_until_it_answers(breaker):
    breaker.failed("a")
    assert breaker.failing("a")
    assert breaker.most("a") == MOST_WHILE_FAILING
    breaker.succeeded("a")
    assert breaker.most("a") == MOST_AT_ONCE
    assert not breaker.failing("a")


def test_a_success_between_failures_begins_the_count_anew(breaker):
    for _ in range(9):
        breaker.failed("a")
    breaker.succeeded("a")
    assert not any(breaker.failed("a") for _ in range(9))
    assert breaker.failed("a")


def test_half_open_it_takes_one_probe_and_the_pause_doubles_to_ten_minutes(breaker, clock):
    opened(breaker)
    pauses = []
    for _ in range(7):
        began = clock.now
        while breaker.most("a") == 0:
            clock.now += 1
        assert breaker.most("a") == 1
        pauses.append(clock.now - began)
        assert breaker.failed("a")
    assert pauses == [30, 60, 120, 240, 480, 600, 600]


def test_a_probe_that_succeeds_closes_it(breaker, clock):
    opened(breaker)
    clock.now += 30
    breaker.succeeded("a")
    assert breaker.most("a") == MOST_AT_ONCE


def test_tries_that_were_under_way_when_it_opened_do_not_lengthen_the_pause(breaker, clock):
    opened(breaker)
    assert not breaker.failed("a")
    clock.now += 30
    assert breaker.most("a") == 1


def test_what_was_idle_for_an_hour_is_forgotten(breaker, clock):
    for number in range(1000):
        breaker.failed(f"e{number}")
    assert len(breaker) == 1000
    clock.now += 3601
    breaker.failed("new")
    assert list(breaker) == ["new"]


def test_of_more_than_it_remembers_those_that_failed_last_stay(breaker):
    opened(breaker)
    for number in range(MOST_REMEMBERED):
        breaker.failed(f"e{number}")
        breaker.failed("a")
    assert len(breaker) == MOST_REMEMBERED
    assert breaker.most("a") == 0
    assert not breaker.failing("e0")
