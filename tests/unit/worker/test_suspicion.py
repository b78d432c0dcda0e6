"""When a device is tested before the next load."""

from __future__ import annotations

import pytest

from worker.aftermath import Death
from worker.suspicion import WINDOW_S, Suspicion


def death(reason: str, *, ordered: bool = False, code: int | None = -9) -> Death:
    return Death(reason, ordered, code, served=True)


@pytest.mark.parametrize("reason", ["fatal", "hung", "stalled", "sigsegv", "exit_1"])
def test_two_deaths_within_ten_minutes_call_for_a_test(clock, reason):
    suspicion = Suspicion(clock)
    suspicion.died(death("fatal"))
    assert not suspicion.test_first
    clock.now += WINDOW_S - 1
    suspicion.died(death(reason))
    assert suspicion.test_first
    clock.now += WINDOW_S
    assert not suspicion.test_first


@pytest.mark.parametrize(
    "other",
    [death("timeout", ordered=True), death("load_failed", code=72), death("exit_0", code=0)],
)
def test_what_is_not_the_device_s_does_not_count(clock, other):
    suspicion = Suspicion(clock)
    for _ in range(5):
        suspicion.died(other)
    assert not suspicion.test_first


def test_a_test_that_failed_is_repeated_until_it_passes(clock):
    suspicion = Suspicion(clock)
    suspicion.tested(passed=False)
    clock.now += 10 * WINDOW_S
    assert suspicion.test_first
    suspicion.tested(passed=True)
    assert not suspicion.test_first
