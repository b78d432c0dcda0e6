"""Group commit: what waits goes together, and each caller gets its own answer."""

from __future__ import annotations

import asyncio

import pytest

from jobs.commit import MAX_BYTES, MAX_ITEMS, GroupCommit
from jobs.errors import QueueUnavailable


class Recorder:
    """Answers each item with its double, when told to."""

    def __init__(self) -> None:
        self.groups: list[list[int]] = []
        self.go = asyncio.Event()

    async def __call__(self, items: list[int]) -> list[int]:
        self.groups.append(items)
        await self.go.wait()
        return [2 * item for item in items]


async def test_what_arrives_during_a_call_goes_together_in_the_next() -> None:
    call = Recorder()
    commit = GroupCommit(call)
    first = commit.add(0)
    await asyncio.sleep(0)
    rest = [commit.add(item) for item in range(1, 6)]
    call.go.set()
    assert await asyncio.gather(first, *rest) == [0, 2, 4, 6, 8, 10]
    assert call.groups == [[0], [1, 2, 3, 4, 5]]


async def test_a_second_call_flies_beside_the_first_once_enough_waits() -> None:
    call = Recorder()
    commit = GroupCommit(call, second_at=3)
    answers = [commit.add(0)]
    await asyncio.sleep(0)
    for item in range(1, 8):
        answers.append(commit.add(item))
        await asyncio.sleep(0)
    assert call.groups == [[0], [1, 2, 3]]
    call.go.set()
    assert await asyncio.gather(*answers) == [2 * item for item in range(8)]
    assert sorted(item for group in call.groups for item in group) == list(range(8))
    assert await commit.add(9) == 18


async def test_a_second_call_leaves_nothing_behind() -> None:
    for count in range(1, 40):
        call = Recorder()
        call.go.set()
        commit = GroupCommit(call, second_at=2)
        answers = []
        for item in range(count):
            answers.append(commit.add(item))
            if item % 3 == 0:
                await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await asyncio.gather(*answers)


async def test_a_group_has_a_largest_count_and_size() -> None:
    call = Recorder()
    call.go.set()
    many = GroupCommit(call)
    await asyncio.gather(*(many.add(item) for item in range(MAX_ITEMS + 1)))
    assert [len(group) for group in call.groups] == [MAX_ITEMS, 1]
    call.groups.clear()
    big = GroupCommit(call, size=lambda _: MAX_BYTES)
    await asyncio.gather(*(big.add(item) for item in range(3)))
    assert [len(group) for group in call.groups] == [1, 1, 1]


async def test_an_error_reaches_all_of_its_group_and_the_next_group_goes_on() -> None:
    fails = [True, False]

    async def call(items: list[int]) -> list[int]:
        if fails.pop(0):
            raise QueueUnavailable("away")
        return items

    commit = GroupCommit(call)
    both = await asyncio.gather(commit.add(1), commit.add(2), return_exceptions=True)
    assert [type(each) for each in both] == [QueueUnavailable, QueueUnavailable]
    assert await commit.add(3) == 3


async def test_a_caller_that_goes_away_costs_the_others_nothing() -> None:
    call = Recorder()
    commit = GroupCommit(call)
    gone, stays = commit.add(1), commit.add(2)
    await asyncio.sleep(0)
    gone.cancel()
    call.go.set()
    assert await stays == 4
    with pytest.raises(asyncio.CancelledError):
        await gone
