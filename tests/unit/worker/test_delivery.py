"""Calls that must get through, however long Redis is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from jobs.errors import QueueUnavailable
from worker.delivery import MOST_BYTES, MOST_PARCELS, Delivery


@asynccontextmanager
async def running(delivery: Delivery[str]) -> AsyncIterator[None]:
    task = asyncio.create_task(delivery.run())
    yield
    task.cancel()
    await asyncio.wait({task})


async def test_what_arrives_during_a_call_goes_together_in_the_next():
    groups: list[list[str]] = []

    async def deliver(group: list[str]) -> None:
        groups.append(group)
        await asyncio.sleep(0.01)

    delivery: Delivery[str] = Delivery("test", deliver)
    async with running(delivery):
        delivery.post(["a"])
        await asyncio.sleep(0.001)
        delivery.post(["b"])
        delivery.post(["c", "d"])
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
        await asyncio.sleep(0.01)
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
