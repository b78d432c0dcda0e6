"""What the engine learns about time."""

import random

import pytest

from worker.engine.timing import AnswerTime, Arrivals, BatchTime


def test_fixed_and_growing_parts_are_told_apart():
    time, numbers = BatchTime(), random.Random(1)
    for _ in range(200):
        padded = numbers.choice([10, 100, 1000, 4000])
        time.learn(padded, (0.008 + 0.0002 * padded) * numbers.uniform(0.95, 1.05))
    assert time.fixed == pytest.approx(0.008, rel=0.2)
    assert time.per_unit == pytest.approx(0.0002, rel=0.1)


def test_batches_of_one_size_give_their_mean():
    time = BatchTime()
    assert not time.known
    for seconds in (0.02, 0.02, 0.02):
        time.learn(1, seconds)
    assert time.known
    assert time.estimate(1) == pytest.approx(0.02)


def test_a_change_of_speed_is_followed():
    time = BatchTime()
    for _ in range(100):
        time.learn(1, 1.0)
    for _ in range(100):
        time.learn(1, 0.1)
    assert time.estimate(1) == pytest.approx(0.1, rel=0.05)


def test_no_noise_makes_a_batch_free():
    time = BatchTime()
    for padded, seconds in ((10, 0.01), (1000, 1.0), (10, 0.001), (2000, 3.0)):
        time.learn(padded, seconds)
        assert time.fixed > 0
        assert time.per_unit >= 0


def test_the_lead_follows_the_answers_within_its_bounds():
    answer = AnswerTime()
    for _ in range(100):
        answer.learn(0.001)
    assert answer.lead_s == AnswerTime.LEAST_S
    for _ in range(100):
        answer.learn(0.03)
    assert 0.03 <= answer.lead_s < 0.05
    answer.learn(60)
    assert answer.lead_s == AnswerTime.MOST_S


def test_a_lone_client_is_never_waited_for():
    arrivals, now = Arrivals(), 10.0
    for _ in range(50):
        arrivals.note(now, 1, idle_since=now - 0.001)
        arrivals.idle(now + 0.002)
        now += 0.003
    arrivals.note(now, 1, idle_since=now - 0.001)
    assert arrivals.expected_until(10) <= now


def test_a_stream_is_waited_for_a_few_of_its_gaps():
    arrivals, now = Arrivals(), 10.0
    for each in range(50):
        now += 0.001
        arrivals.note(now, 1, idle_since=None if each else now)
    assert arrivals.expected_until(0.01) == pytest.approx(now + 0.002)
    assert arrivals.expected_until(0.0001) <= now
    arrivals.idle(now)
    assert arrivals.expected_until(0.01) <= now


def test_the_time_in_hand_counts_although_nobody_said_that_it_ended():
    told, untold = Arrivals(), Arrivals()
    for each in (told, untold):
        each.note(10.0, 1, idle_since=10.0)
        each.note(11.0, 1, idle_since=None)
    told.idle(19.0)
    for each in (told, untold):
        each.note(30.0, 1, idle_since=19.0)
        assert each.expected_until(9.5) == pytest.approx(30 + Arrivals.GAPS * 9)
