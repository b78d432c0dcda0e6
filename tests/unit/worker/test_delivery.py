"""Calls that must get through, however long Redis is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

import pytest

from jobs.errors import QueueUnavailable
from jobs.ids import new_job_id
from jobs.worker_queue import HandBack, Outcome
from worker.delivery import MOST_BYTES, MOST_PARCELS, Delivery
from worker.holding import Phase
from worker.returning import Returner
from worker.settling import Settler
from worker.wire import Item

from .waiting import turns, until


@asynccontextmanager
async def running(delivery: Delivery[Any]) -> AsyncIterator[None]:
    task = asyncio.create_task(delivery.run())
    yield
    task.cancel()
    await asyncio.wait({task})


async def test_what_arrives_during_a_call_goes_together_in_the_next():
    groups: list[list[str]] = []
    answered = asyncio.Event()

    async def deliver(group: list[str]) -> None:
        groups.append(group)
        await answered.wait()

    delivery: Delivery[str] = Delivery("test", deliver)
    async with running(delivery):
        delivery.post(["a"])
        await until(lambda: groups)
        delivery.post(["b"])
        delivery.post(["c", "d"])
        answered.set()
        await delivery.emptied()
    assert groups == [["a"], ["b", "c", "d"]]


async def test_a_call_that_fails_is_repeated_in_order_and_nothing_is_lost():
    taken: list[str] = []
    failures = iter([True, True, False])

    async def deliver(group: list[str]) -> None:
        if next(failures, False):
            raise QueueUnavailable("away")
        taken.extend(group)

    delivery: Delivery[str] = Delivery("test", deliver)
    async with running(delivery):
        delivery.post(["a"])
        await turns()
        delivery.post(["b"])
        await delivery.emptied()
    assert taken == ["a", "b"]


@pytest.mark.parametrize(
    ("size", "largest"), [(0, MOST_PARCELS), (MOST_BYTES // 10, 10), (2 * MOST_BYTES, 1)]
)
async def test_groups_are_bounded_in_number_and_bytes(size, largest):
    lengths: list[int] = []

    async def deliver(group: list[str]) -> None:
        lengths.append(len(group))

    delivery: Delivery[str] = Delivery("test", deliver, lambda _: size)
    async with running(delivery):
        delivery.post(["x"] * 600)
        await delivery.emptied()
    assert max(lengths) == largest
    assert sum(lengths) == 600


async def test_nothing_posted_is_empty_at_once():
    async def deliver(group: list[str]) -> None:
        raise AssertionError(group)

    delivery: Delivery[str] = Delivery("test", deliver)
    async with running(delivery):
        delivery.post([])
        await asyncio.wait_for(delivery.emptied(), 1)


async def test_a_lane_whose_receiver_is_away_holds_up_no_other():
    taken: list[str] = []
    away = True

    async def deliver(group: list[str]) -> None:
        if away and group[0].startswith("a"):
            raise QueueUnavailable("away")
        taken.extend(group)

    delivery: Delivery[str] = Delivery("test", deliver, lane=lambda each: each[0])
    # Before it runs, and while it does.
    delivery.post(["a1", "b1"])
    async with running(delivery):
        await turns()
        delivery.post(["a2", "b2", "c1"])
        await turns()
        assert taken == ["b1", "b2", "c1"]
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(delivery.emptied(), 0.05)
        away = False
        await asyncio.wait_for(delivery.emptied(), 5)
    assert taken[3:] == ["a1", "a2"]


async def test_jobs_of_a_healthy_shard_are_settled_and_handed_back_past_one_that_is_away(
    station, hold
):
    settler, returner = Settler(station), Returner(station)
    ids = {shard: [new_job_id(shard), new_job_id(shard)] for shard in (1, 2)}
    told: list[str] = []

    async def take(given: Sequence[Outcome | HandBack]) -> dict[str, str]:
        if any(each.id in ids[1] for each in given):
            raise QueueUnavailable("its master is away")
        told.extend(each.id for each in given)
        return {each.id: "ok" for each in given}

    station.queue.settle = station.queue.hand_back = take
    settles, returns = [
        [hold(ids[shard][which], Phase.ON_GPU) for shard in (1, 2)] for which in (0, 1)
    ]
    async with running(settler.delivery), running(returner.delivery):
        settler.ended([Item(held.feed, b"1", None, 0.0) for held in settles])
        returner.uncharged(returns, "drain")
        await turns()
        assert sorted(told) == sorted(ids[2])
        assert sorted(station.holding.jobs) == sorted(ids[1])
        for delivery in (settler.delivery, returner.delivery):
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(delivery.emptied(), 0.05)
