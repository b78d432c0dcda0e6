"""The arithmetic of docs/capacity.md against a simulation, and the page against the arithmetic."""

from __future__ import annotations

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest

from benchmarks.capacity import COSTS, RATES, SHARDS, Bounds, Load, Queue, plan, table
from benchmarks.queue_simulation import simulate

PAGE = (Path(__file__).parents[2] / "docs" / "capacity.md").read_text()


def test_the_table_of_the_page_is_what_the_arithmetic_says():
    found = re.search(r"\| jobs/s \|.*?\n\n", PAGE, re.DOTALL)
    assert found[0].strip().splitlines() == list(table())


def test_the_costs_of_the_page_are_those_that_it_reckons_with():
    told = re.findall(r"^\| `(\w+)` \| ([\d,]+) (µs|B) \|", PAGE, re.MULTILINE)
    scales = {"µs": 1e6, "B": 1}
    reckoned = {
        (f.name, round(getattr(COSTS, f.name) * scales["µs" if f.name.endswith("_s") else "B"]))
        for f in fields(COSTS)
    }
    assert {(name, int(cost.replace(",", ""))) for name, cost, _ in told} == reckoned


@pytest.mark.parametrize("rate", RATES)
def test_what_the_arithmetic_says_of_a_rate_happens_in_the_simulation(rate):
    made = plan(Load(jobs_per_s=rate))
    # So many that each of many processes has some hundred jobs.
    seen = simulate(made, jobs=max(20_000, 500 * made.workers))
    for kind, queue in made.queues().items():
        assert seen[kind].busy == pytest.approx(queue.busy, rel=0.1), kind
        assert seen[kind].batch == pytest.approx(queue.mean_batch, rel=0.1), kind
    assert seen["API"].wait_s == pytest.approx(made.queues()["API"].mean_wait_s, rel=0.2, abs=2e-6)
    assert seen["GPU"].wait_s == pytest.approx(made.queues()["GPU"].mean_wait_s, rel=0.1)
    # What one API process lets through does not come all at once.
    assert seen["Redis"].wait_s <= 1.2 * made.queues()["Redis"].mean_wait_s + 1e-6


@pytest.mark.parametrize("busy", [0.3, 0.6, 0.8])
def test_one_at_a_time_waits_as_md1_says(busy):
    load = Load(jobs_per_s=busy / COSTS.api_s)
    made = replace(plan(load), api=1, masters=50, workers=200)
    wait_s = simulate(made, jobs=100_000)["API"].wait_s
    assert wait_s == pytest.approx(Queue(load.jobs_per_s, COSTS.api_s).mean_wait_s, rel=0.1)


def test_nothing_is_fuller_than_its_bound():
    for rate in (*RATES, 7, 3_333, 77_777):
        for webhooks in (0.0, 1.0):
            made = plan(Load(jobs_per_s=rate, webhooks=webhooks))
            assert made.redis_busy <= Bounds().core + 1e-9
            assert made.queues()["API"].busy <= Bounds().core + 1e-9
            full = rate * made.load.batch_s / made.load.batch / made.workers
            assert full <= Bounds().gpu + 1e-9
            share = made.redis_bytes / made.installations / made.masters
            assert share <= Bounds().redis_bytes
            assert made.masters <= SHARDS


def test_one_less_of_anything_would_be_too_few():
    made = plan(Load(jobs_per_s=100_000))
    assert 100_000 * COSTS.api_s / (made.api - 1) > Bounds().core
    assert replace(made, masters=made.masters - 1).redis_busy > Bounds().core
    assert 100_000 * 0.02 / 32 / (made.workers - 1) > Bounds().gpu


def test_what_is_kept_for_long_takes_masters_for_its_memory():
    made = plan(Load(jobs_per_s=10_000, kept_s=3600))
    assert made.masters_for == "memory"
    assert made.masters * Bounds().redis_bytes >= made.redis_bytes


def test_a_load_that_nothing_bears_is_refused():
    with pytest.raises(ValueError, match="no number of installations"):
        plan(Load(jobs_per_s=1e12))
