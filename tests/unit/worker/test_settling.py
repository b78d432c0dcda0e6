"""What is counted of an outcome, by what Redis says of it."""

from __future__ import annotations

import asyncio

import pytest

from worker.holding import Phase
from worker.settling import Settler
from worker.wire import Item


@pytest.mark.parametrize(
    ("verdict", "ended", "requeued"),
    [("retry", 0, 1), ("already", 0, 1), ("canceled", 1, 0), ("stale", 0, 0)],
)
async def test_a_retry_is_no_end_also_when_its_answer_was_lost(
    station, hold, verdict, ended, requeued
):
    held = hold("job_1", Phase.ON_GPU)
    station.queue.verdicts["job_1"] = verdict
    settler = Settler(station)
    task = asyncio.create_task(settler.delivery.run())
    settler.ended([Item(held.feed, None, {"code": "model_error", "retryable": True}, 0.0)])
    await settler.delivery.emptied()
    task.cancel()
    await asyncio.wait({task})
    assert station.queue.asked("settle") == [[("job_1", "retry")]]
    sample = station.metrics.requeues.labels("retry")._value.get()
    finished = station.metrics.jobs_finished.collect()[0].samples
    total = sum(each.value for each in finished if each.name.endswith("_total"))
    assert (total, sample) == (ended, requeued)
