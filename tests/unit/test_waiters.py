"""Who waits for which job, and what a look that finds nothing means."""

from __future__ import annotations

import pytest

from jobs.connection import RedisConnections
from jobs.job import Job
from jobs.waiters import Waiters


@pytest.fixture
def waiters() -> Waiters:
    async def finds_nothing(ids: list[str]) -> list[Job | None]:
        return [None for _ in ids]

    return Waiters(RedisConnections("redis://nowhere"), "process", finds_nothing)


async def test_a_job_on_its_way_to_redis_is_not_taken_for_gone(waiters: Waiters) -> None:
    future = waiters.expect("job_1", unborn=True)
    await waiters.look_again()
    assert not future.done()
    waiters.born("job_1")
    await waiters.look_again()
    assert future.result() is None


async def test_a_drain_lets_everybody_go_now_and_later(waiters: Waiters) -> None:
    before = waiters.expect("job_1", unborn=True)
    waiters.drain()
    assert before.result() is None
    assert waiters.expect("job_2").result() is None


async def test_who_stopped_waiting_is_not_looked_for(waiters: Waiters) -> None:
    first, second = waiters.expect("job_1"), waiters.expect("job_1")
    waiters.forget("job_1", first)
    await waiters.look_again()
    assert (first.done(), second.done()) == (False, True)
    waiters.forget("job_1", second)
    waiters.forget("job_1", second)
