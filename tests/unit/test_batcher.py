"""Which jobs go to the device together."""

import random

import pytest

from worker.engine.batch import HeldJob
from worker.engine.batcher import NEVER, PATIENCE_S, Batcher
from worker.engine.memory import SafeSizes
from worker.engine.timing import BatchTime
from worker.wire import EngineJob


def batcher(max_batch=8, *, time=None, known=None, **limits):
    if time is None:
        time = BatchTime()
        for padded in (10, 1000):
            time.learn(padded, 0.01 + 0.0002 * padded)
    return Batcher(SafeSizes(known or {}, max_batch), time, max_batch=max_batch, **limits)


def job(cost=1.0, arrived=0.0, priority="normal", *, alone=False, name="job"):
    return HeldJob(
        EngineJob(name, 1, b"", priority, alone=alone),
        arrived,
        arrived + PATIENCE_S[priority],
        cost=cost,
    )


def filled(jobs, **options):
    made = batcher(**options)
    for each in jobs:
        made.add(each)
    return made


def costs(jobs):
    return sorted(each.cost for each in jobs)


def test_jobs_without_cost_leave_in_the_order_of_their_turns():
    jobs = [job(arrived=each) for each in range(10)]
    made = filled(reversed(jobs))
    assert made.take() == jobs[:8]
    assert made.take() == jobs[8:]
    assert made.take() == []


def test_a_higher_priority_is_taken_first_but_a_lower_one_only_waits_its_patience():
    low, normal, high = (job(arrived=0, priority=each) for each in ("low", "normal", "high"))
    late = job(arrived=PATIENCE_S["low"] + 0.1, priority="high")
    made = filled([late, low, normal, high], max_batch=1)
    assert [made.take()[0] for _ in range(4)] == [high, normal, low, late]


def test_the_job_whose_turn_it_is_is_in_the_batch_with_its_likes():
    first = job(100, arrived=0)
    likes = [job(100 + each, arrived=1) for each in range(1, 7)]
    others = [job(1000 + each, arrived=1) for each in range(20)]
    chosen = filled([*others, *likes, first], max_batch=8).take()
    assert first in chosen
    assert max(costs(chosen)) < 1000


def test_padding_is_taken_where_a_start_costs_more_than_it():
    dear_start = BatchTime()
    for padded in (10, 1000):
        dear_start.learn(padded, 1.0 + 0.00001 * padded)
    jobs = [job(10, arrived=0), *(job(500, arrived=1) for _ in range(7))]
    assert len(filled(jobs, time=dear_start).take()) == 8
    assert len(filled(jobs).take()) == 1


def test_before_anything_is_measured_padding_counts_in_full():
    jobs = [job(10), job(10), job(500)]
    assert costs(filled(jobs, time=BatchTime()).take()) == [10, 10]


def test_no_job_starves_whatever_its_length():
    numbers = random.Random(2)
    lengths = [numbers.choice([8, 9, 10, 200]) for _ in range(3000)]
    made, waited, now = batcher(max_batch=8), [], 0.0
    for length in lengths[:64]:
        made.add(job(length, arrived=0.0))
    for length in lengths[64:]:
        now += 1.0
        while len(made) >= 64:
            waited += [now - each.arrived for each in made.take()]
        made.add(job(length, arrived=now))
    assert max(waited) < 200


def test_packing_comes_near_to_the_sorted_whole():
    numbers = random.Random(3)
    lengths = [numbers.randint(8, 200) for _ in range(4000)]
    made = batcher(max_batch=32)

    def seconds(padded):
        return 0.01 + 0.0002 * padded

    spent, rest = 0.0, iter(lengths)
    for each in range(64):
        made.add(job(next(rest), arrived=each))
    now = 64.0
    while len(made):
        chosen = made.take()
        spent += seconds(len(chosen) * max(costs(chosen)))
        for _, length in zip(chosen, rest, strict=False):
            now += 1
            made.add(job(length, arrived=now))
    ordered = sorted(lengths)
    batches = [ordered[start : start + 32] for start in range(0, len(ordered), 32)]
    bound = sum(seconds(len(each) * each[-1]) for each in batches)
    assert bound / spent >= 0.92


def test_max_cost_bounds_the_padded_cost():
    chosen = filled([job(100) for _ in range(8)], max_cost=350).take()
    assert len(chosen) == 3
    made = batcher(max_cost=350)
    assert made.most_for(100) == 3
    assert made.fits(350)
    assert not made.fits(351)


def test_buckets_round_the_cost_up():
    made = batcher(buckets=[64, 128], max_cost=512)
    assert [made.shape_of(each) for each in (0, 1, 64, 65, 128, 129)] == [64, 64, 64, 128, 128, 129]
    assert made.most_for(100) == 4


def test_a_safe_size_that_was_learned_is_kept_to():
    made = filled([job(100) for _ in range(8)], known={"128": 2, "4096": 1})
    assert len(made.take()) == 2


def test_a_job_that_must_run_alone_does_when_it_is_its_turn():
    lonely = job(arrived=1, alone=True)
    made = filled([lonely, job(arrived=0), job(arrived=2)])
    assert len(made) == 3
    assert lonely not in made.take()
    assert made.take() == [lonely]
    assert filled([lonely, job(arrived=2)]).take() == [lonely]


def test_a_removed_job_is_not_taken():
    one, other, lonely = job(arrived=0), job(arrived=1), job(alone=True)
    made = filled([one, other, lonely])
    for each in (one, lonely, job()):
        made.remove(each)
    assert made.take() == [other]
    made.add(one)
    made.clear()
    assert not len(made)


def test_started_jobs_are_split_into_what_fits():
    jobs = [job(100), job(90, alone=True), job(100), job(100), job(80)]
    parts = list(batcher(max_batch=2).split(jobs))
    assert [costs(each) for each in parts] == [[80], [90], [100, 100], [100]]


@pytest.mark.parametrize(
    ("arrived", "expecting", "at"),
    [(0.0, True, 0.05), (0.0, False, 0.01), (-1.0, True, 0.01)],
)
def test_it_waits_for_more_only_when_more_is_expected_and_not_for_long(arrived, expecting, at):
    made = filled([job(arrived=arrived)], max_wait_s=0.05)
    assert made.ready_at(0.01, expecting=expecting) == at


def test_it_does_not_wait_where_waiting_brings_nothing():
    assert batcher().ready_at(1.0, expecting=True) == NEVER
    assert filled([job()], max_wait_s=0).ready_at(1.0, expecting=True) == 1.0
    full = filled([job(), job()], max_batch=2, max_wait_s=9)
    assert full.full
    assert full.ready_at(1.0, expecting=True) == 1.0
    assert filled([job(alone=True)], max_wait_s=9).ready_at(1.0, expecting=True) == 1.0


def test_it_waits_by_the_learned_gap_of_arrivals():
    made = batcher(max_wait_s=0.05)
    for each in range(20):
        made.arrivals.note(each / 1000, 1, idle_since=None if each else 0.0)
    made.add(job(arrived=0.02))
    assert made.ready_at(0.02, expecting=False) == pytest.approx(0.019 + 0.002)
    assert made.ready_at(0.03, expecting=False) == 0.03
