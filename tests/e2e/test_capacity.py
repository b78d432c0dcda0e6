"""A point of the arithmetic of docs/capacity.md that any machine can run, run for real."""

from __future__ import annotations

import pytest

from benchmarks.bench import QUICK, opened
from benchmarks.capacity import Queue
from benchmarks.measures.capacity import BATCH, BATCH_S, run_point, simulated
from benchmarks.processes import headrace_api


def test_a_worker_makes_batches_and_waits_as_reckoned() -> None:
    per_second = 40.0
    paper, told = Queue(per_second, BATCH_S, BATCH), simulated(per_second, 1)
    with opened(QUICK) as bench, headrace_api(bench.redis_url, bench.log("api")) as api:
        points = [run_point(bench, api, per_second, workers=1, seconds=8) for _ in range(3)]
    # The same jobs come at the same times: a machine that stands still for a second adds to one of
    # them, and takes from none.
    found = sorted(points, key=lambda each: each.wait_s)[1]
    assert found.batch == pytest.approx(paper.mean_batch, rel=0.25)
    assert found.batch == pytest.approx(told.batch, rel=0.25)
    # What the machine does beside comes on top: the wait is for batches, at most for one more.
    assert paper.mean_wait_s * 0.75 <= found.wait_s <= paper.mean_wait_s + BATCH_S
