"""What the queue does while Redis is gone, and after it came back."""

from __future__ import annotations

import asyncio

import pytest
import redis

from jobs.cards import CardStore, CardWatch
from jobs.connection import RedisConnections
from jobs.errors import ModelNotFound, NotDurable, QueueFull, QueueUnavailable, WrongRedis
from jobs.job import NewJob
from jobs.keystore import BadKey, KeyRing, KeyStore, Role
from jobs.policy import QueueOptions
from jobs.queue import JobQueue
from jobs.room import RoomReader
from jobs.states import Status
from jobs.worker_queue import Outcome, WorkerQueue
from tests.conftest import RedisServer

JOB = NewJob(model="echo", version="1", tenant="default", input=b"1")
OPTIONS = QueueOptions()


def config(server: RedisServer, name: str, value: str) -> None:
    with redis.Redis.from_url(server.url) as client:
        client.config_set(name, value)


async def test_a_killed_redis_loses_nothing_that_was_accepted(own_redis: RedisServer) -> None:
    async with (
        RedisConnections(own_redis.url) as connections,
        JobQueue(connections, OPTIONS, process_id="p") as queue,
    ):
        worker = WorkerQueue(
            connections, OPTIONS, model="echo", version="1", shards=[17], worker="w"
        )
        await worker.register({})
        job = (await queue.submit(JOB, shards=[17])).job
        waiting = asyncio.create_task(queue.wait(job.id, "default", 20))
        [claimed] = await worker.claim(1, start=True)
        await asyncio.sleep(0.05)
        own_redis.kill()
        with pytest.raises(QueueUnavailable) as caught:
            await queue.submit(JOB, shards=[17])
        assert caught.value.retry_after_s
        assert not await connections.healthy()
        own_redis.start()
        assert await worker.settle([Outcome(job.id, claimed.token, "succeeded", b"2")])
        ended = await waiting
        assert (ended.status, ended.output) == (Status.SUCCEEDED, b"2")
        # The scripts were lost with the process; they load themselves again.
        await queue.submit(JOB, shards=[17])


async def test_a_full_redis_refuses_submits_and_lets_accepted_jobs_end(
    own_redis: RedisServer,
) -> None:
    async with (
        RedisConnections(own_redis.url) as connections,
        JobQueue(connections, OPTIONS, process_id="p") as queue,
    ):
        worker = WorkerQueue(
            connections, OPTIONS, model="echo", version="1", shards=[17], worker="w"
        )
        await worker.register({})
        job = (await queue.submit(JOB, shards=[17])).job
        config(own_redis, "maxmemory", "1mb")
        [room] = await RoomReader(connections).read()
        assert room.memory_limit is not None
        assert room.memory > room.memory_limit
        with pytest.raises(QueueFull):
            await queue.submit(JOB, shards=[17])
        [claimed] = await worker.claim(1, start=True)
        assert await worker.settle([Outcome(job.id, claimed.token, "succeeded", b"2")]) == {
            job.id: "ok"
        }
        config(own_redis, "maxmemory", "0")
        await queue.submit(JOB, shards=[17])


@pytest.mark.parametrize(
    ("setting", "value", "says"),
    [
        ("maxmemory-policy", "allkeys-lru", "CONFIG SET maxmemory-policy noeviction"),
        ("appendonly", "no", "CONFIG SET appendonly yes"),
        ("appendfsync", "everysec", "HEADRACE_DURABILITY=everysec"),
    ],
)
async def test_a_redis_that_cannot_keep_the_promise_is_refused(
    own_redis: RedisServer, setting: str, value: str, says: str
) -> None:
    async with RedisConnections(own_redis.url) as connections:
        assert await connections.verify() == []
        config(own_redis, setting, value)
        with pytest.raises(WrongRedis, match=says):
            await connections.verify()


async def test_replicated_means_that_a_replica_has_it(redis_url: str) -> None:
    async with (
        RedisConnections(redis_url, durability="replicated") as connections,
        JobQueue(connections, OPTIONS, process_id="p") as queue,
    ):
        with pytest.raises(NotDurable, match="Idempotency-Key"):
            await queue.submit(JOB, shards=[17])


@pytest.mark.parametrize("url", ["http://x", "redis+what://x"])
def test_an_unknown_kind_of_redis_is_refused_by_name(url: str) -> None:
    with pytest.raises(WrongRedis, match=url.partition("://")[0].replace("+", r"\+")):
        RedisConnections(url)
    with pytest.raises(WrongRedis, match="HEADRACE_DURABILITY"):
        RedisConnections("redis://x", durability="maybe")


async def test_cards_are_followed_and_a_miss_looks_again(redis_url: str) -> None:
    async with RedisConnections(redis_url) as connections, CardWatch(connections) as watch:
        with pytest.raises(ModelNotFound, match="none yet"):
            watch.get("echo")
        store = CardStore(connections)
        await store.publish(b'{"shards":[17],"v":1}', model="echo", version="1")
        await asyncio.sleep(0.11)
        entry = await watch.find("echo")
        assert (entry.version, entry.shards, watch.shards()) == ("1", (17,), {"echo": [17]})
        revision = watch.revision
        await store.publish(b'{"shards":[17],"v":1}', model="echo", version="1")
        assert await store.revision() == revision
        await store.publish(b'{"shards":[17],"v":2}', model="echo", version="2")
        await watch.refresh()
        assert (watch.get("echo").version, watch.get("echo@1").card["v"]) == ("2", 1)
        await store.remove("echo")
        await watch.refresh()
        assert watch.models() == []


async def test_a_revoked_key_is_refused_and_the_door_stays_shut(redis_url: str, tmp_path) -> None:
    async with RedisConnections(redis_url) as connections, KeyRing(connections) as ring:
        assert (ring.known, ring.any) == (True, False)
        store = KeyStore(connections)
        text, record = await store.create(tenant="acme", role=Role.READ, name="ci")
        await ring.refresh()
        found = ring.authenticate(text)
        assert found is not None
        assert (found.tenant, found.role) == ("acme", Role.READ)
        assert ring.authenticate(text[:-1] + ("0" if text[-1] != "0" else "1")) is None
        assert ring.authenticate("nonsense") is None
        await store.revoke(record.id)
        await ring.refresh()
        assert ring.authenticate(text) is None
        assert ring.any
        assert await store.revoke("nobody") is None
        keys = tmp_path / "keys"
        keys.write_text(f"# first\n{text} admin\nhr_{'a' * 12}_{'b' * 43} submit acme ci key\n")
        assert await store.seed(keys) == 1
        assert await store.seed(keys) == 0
        keys.write_text("hr_short admin")
        with pytest.raises(BadKey, match="line 1"):
            await store.seed(keys)
        with pytest.raises(BadKey, match="cannot be read"):
            await store.seed(tmp_path / "none")
        with pytest.raises(BadKey, match="Tenant"):
            await store.create(tenant="Bad Tenant")


async def test_a_look_at_the_cards_that_failed_says_of_no_model_that_there_is_none(
    own_redis: RedisServer,
) -> None:
    own_redis.kill()
    async with RedisConnections(own_redis.url) as connections, CardWatch(connections) as watch:
        for _ in range(3):
            with pytest.raises(QueueUnavailable):
                await watch.find("echo")
        own_redis.start()
        with pytest.raises(ModelNotFound):
            await watch.find("echo")
