"""When a delivery is tried again, on a clock of our own."""

from __future__ import annotations

from email.utils import formatdate
from itertools import pairwise

import pytest

from webhooks.schedule import DELAYS_S, Schedule, retry_after_s

NOW = 1_800_000_000.0


def test_ten_tries_over_three_days_without_jitter():
    schedule = Schedule(draw=lambda: 0.5)
    clock, times = 0.0, [0.0]
    while (delay := schedule.after(len(times))) is not None:
        clock += delay
        times.append(clock)
    assert len(times) == 10
    assert [after - before for before, after in pairwise(times)] == list(DELAYS_S[1:])
    assert DELAYS_S == (0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)


@pytest.mark.parametrize("tries", range(1, 10))
def test_jitter_is_a_fifth_both_ways(tries):
    soonest = Schedule(draw=lambda: 0.0).after(tries)
    latest = Schedule(draw=lambda: 1.0).after(tries)
    assert soonest == pytest.approx(DELAYS_S[tries] * 0.8)
    assert latest == pytest.approx(DELAYS_S[tries] * 1.2)


def test_jitter_is_spread_over_its_whole_width():
    delays = [Schedule().after(2) for _ in range(400)]
    assert all(240 <= delay <= 360 for delay in delays)
    assert min(delays) < 260
    assert max(delays) > 340


def test_after_the_tenth_there_is_none():
    assert Schedule().after(10) is None
    assert Schedule().after(11) is None


def test_retry_after_puts_off_and_never_hastens():
    schedule = Schedule(draw=lambda: 0.5)
    assert schedule.after(1, 60.0) == 60.0
    assert schedule.after(2, 60.0) == 300.0


def test_the_scale_is_a_factor_of_all_delays():
    schedule = Schedule(scale=0.001, draw=lambda: 0.5)
    assert schedule.after(1) == pytest.approx(0.005)
    assert schedule.after(1, 60.0) == pytest.approx(0.06)


@pytest.mark.parametrize(
    ("status", "value", "seconds"),
    [
        (429, "120", 120.0),
        (503, " 7 ", 7.0),
        (503, formatdate(NOW + 90, usegmt=True), 90.0),
        (503, formatdate(NOW - 90, usegmt=True), 0.0),
        (429, "999999", 3600.0),
        (429, "9" * 400, 3600.0),
        (429, formatdate(NOW + 86400, usegmt=True), 3600.0),
        (500, "120", None),
        (429, None, None),
        (429, "soon", None),
        (429, "-5", None),
        (429, "1.5", None),
        (429, f"Mon, 01 Jan {'9' * 30} 00:00:00 GMT", None),
        (503, f"Mon, 01 Jan 2024 {'9' * 30}:00:00 GMT", None),
        (429, "٣", None),
    ],
)
def test_what_a_retry_after_asks_for(status, value, seconds):
    assert retry_after_s(status, value, NOW) == seconds
