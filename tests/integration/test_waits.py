"""Held waits while Redis goes away, freezes, or loses the connection that wakes them."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Callable
from statistics import median

import pytest
import redis

from jobs.connection import SOCKET_TIMEOUT_S, RedisConnections
from jobs.errors import NotDurable, QueueUnavailable
from jobs.job import Job, NewJob
from jobs.policy import QueueOptions
from jobs.queue import JobQueue
from jobs.states import Status
from jobs.waiters import LOOK_AGAIN_S, PATIENCE_S
from jobs.worker_queue import Outcome, WorkerQueue
from tests.conftest import RedisServer
from tests.redis_nodes import DURABLE, Server, eventually, in_step, replica_of

JOB = NewJob(model="echo", version="1", tenant="default", input=b"1")
OPTIONS = QueueOptions()
SHARD = 17


@pytest.fixture
async def connections(own_redis: RedisServer) -> AsyncIterator[RedisConnections]:
    async with RedisConnections(own_redis.url, fail_fast=True) as made:
        yield made


@pytest.fixture
async def queue(connections: RedisConnections) -> AsyncIterator[JobQueue]:
    async with JobQueue(connections, OPTIONS, process_id="p") as made:
        yield made


async def held(url: str, queue: JobQueue, identifier: str) -> asyncio.Task[Job]:
    """Begin a long wait, and see it registered."""
    task = asyncio.create_task(queue.wait(identifier, "default", 50))
    await there(url, lambda client: client.hget(f"hr:{{s017}}:job:{identifier}", "watch"))
    return task


async def there(url: str, ask: Callable[[redis.Redis], object]) -> None:
    """Wait until Redis has something, and for what was answered before."""
    with redis.Redis.from_url(url) as client:
        async with asyncio.timeout(10):
            while True:
                if ask(client):
                    break
                await asyncio.sleep(0.02)
    await asyncio.sleep(0.1)


async def end(connections: RedisConnections, *identifiers: str) -> None:
    """Run jobs to their end as a worker would."""
    worker = WorkerQueue(
        connections, OPTIONS, model="echo", version="1", shards=[SHARD], worker="w"
    )
    await worker.register({})
    claimed = await worker.claim(len(identifiers), start=True)
    assert {each.id for each in claimed} == set(identifiers)
    await worker.settle([Outcome(each.id, each.token, "succeeded", b"2") for each in claimed])


async def test_a_wait_ends_clearly_when_redis_stays_away_and_works_again_after(
    own_redis: RedisServer, connections: RedisConnections, queue: JobQueue
) -> None:
    job = (await queue.submit(JOB, shards=[SHARD])).job
    reading = await held(own_redis.url, queue, job.id)
    submitting = asyncio.create_task(queue.submit_and_wait(JOB, shards=[SHARD], timeout_s=50))
    counts = "hr:{s017}:counts:echo"
    await there(own_redis.url, lambda client: client.hget(counts, "queued") == b"2")
    own_redis.kill()
    began = time.monotonic()
    with pytest.raises(QueueUnavailable) as caught:
        await reading
    # Asked for no certain time: the API spreads those who come back.
    assert (caught.value.members, caught.value.retry_after_s) == ({"job_id": job.id}, None)
    accepted = await submitting
    assert (accepted.job.status, accepted.replayed) == (Status.QUEUED, False)
    assert PATIENCE_S * 0.5 < time.monotonic() - began < PATIENCE_S + 4
    took_s = []
    # The middle one tells: a busy machine may hold up any.
    for _ in range(5):
        began = time.monotonic()
        with pytest.raises(QueueUnavailable):
            await queue.wait(job.id, "default", 50)
        took_s.append(time.monotonic() - began)
    assert median(took_s) < 1
    own_redis.start()
    again = await held(own_redis.url, queue, job.id)
    await end(connections, job.id, accepted.job.id)
    assert (await again).status is Status.SUCCEEDED
    assert (await queue.wait(accepted.job.id, "default", 1)).output == b"2"
    assert queue.broken == []


async def test_a_short_outage_is_waited_out(
    own_redis: RedisServer,
    connections: RedisConnections,
    queue: JobQueue,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A busy machine takes its time to start a Redis.
    monkeypatch.setattr("jobs.waiters.PATIENCE_S", 10 * PATIENCE_S)
    job = (await queue.submit(JOB, shards=[SHARD])).job
    reading = await held(own_redis.url, queue, job.id)
    own_redis.kill()
    await asyncio.sleep(PATIENCE_S / 4)
    own_redis.start()
    await end(connections, job.id)
    assert (await reading).status is Status.SUCCEEDED


@pytest.mark.parametrize("thaw", [True, False])
async def test_a_wait_ends_when_redis_is_frozen_and_not_when_it_soon_goes_on(
    own_redis: RedisServer, connections: RedisConnections, queue: JobQueue, thaw: bool
) -> None:
    job = (await queue.submit(JOB, shards=[SHARD])).job
    reading = await held(own_redis.url, queue, job.id)
    own_redis.process.send_signal(signal.SIGSTOP)
    began = time.monotonic()
    try:
        if thaw:
            await asyncio.sleep(2)
        else:
            with pytest.raises(QueueUnavailable):
                await reading
            # The look that notices, and its timeout.
            assert time.monotonic() - began < LOOK_AGAIN_S + SOCKET_TIMEOUT_S + 3
    finally:
        own_redis.process.send_signal(signal.SIGCONT)
    async with asyncio.timeout(10):
        while True:
            if await connections.healthy():
                break
            await asyncio.sleep(0.05)
    again = reading if thaw else await held(own_redis.url, queue, job.id)
    await end(connections, job.id)
    assert (await again).status is Status.SUCCEEDED


async def test_a_wait_is_woken_although_its_subscription_was_cut(
    own_redis: RedisServer, connections: RedisConnections, queue: JobQueue
) -> None:
    job = (await queue.submit(JOB, shards=[SHARD])).job
    reading = await held(own_redis.url, queue, job.id)
    await there(own_redis.url, lambda client: client.pubsub_channels())
    with redis.Redis.from_url(own_redis.url) as client:
        assert client.execute_command("CLIENT", "KILL", "TYPE", "pubsub") == 1
        began = time.monotonic()
        await end(connections, job.id)
        assert (await reading).status is Status.SUCCEEDED
        assert time.monotonic() - began < LOOK_AGAIN_S
        async with asyncio.timeout(10):
            while True:
                if client.pubsub_channels():
                    break
                await asyncio.sleep(0.05)


async def test_an_accepted_job_is_told_though_its_replica_is_gone_when_the_wait_ends() -> None:
    with Server(*DURABLE) as master, replica_of(master, *DURABLE) as replica:
        async with (
            RedisConnections(f"redis://127.0.0.1:{master.port}", durability="replicated") as two,
            JobQueue(two, OPTIONS, process_id="p") as queue,
        ):
            await asyncio.to_thread(eventually, lambda: in_step(master), 20)
            waiting = asyncio.create_task(queue.submit_and_wait(JOB, shards=[SHARD], timeout_s=2))

            def confirmed() -> bool:
                there = master.ask("HGET", "hr:{s017}:counts:echo", "queued") == b"1"
                return there and master.info("clients")["blocked_clients"] == 0

            await asyncio.to_thread(eventually, confirmed, 10)
            replica.freeze()
            submitted = await waiting
            assert submitted.job.status is Status.QUEUED
            with pytest.raises(NotDurable) as caught:
                await queue.wait(submitted.job.id, "default", 0.1)
            assert caught.value.members["job_id"] == submitted.job.id
            replica.thaw()
