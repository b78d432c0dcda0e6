"""The audit names each thing that does not fit, and nothing else."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass

import pytest
import redis

from jobs.audit import audit
from jobs.worker_queue import Outcome

from .queue_rig import SHARDS, Rig, rig_on

P = "hr:{s017}:"


@dataclass
class Scene:
    """A shard with a job of each kind, all of it in order."""

    rig: Rig
    redis: redis.Redis
    waiting: str
    running: str
    done: str
    failed: str
    returned: str
    life: str

    async def findings(self) -> set[tuple[str, str]]:
        found = await audit(self.rig.connections, self.rig.options, look_again_s=0)
        return {(each.kind, each.key.removeprefix(P)) for each in found}


@pytest.fixture
async def scene(redis_url: str) -> AsyncIterator[Scene]:
    async with rig_on(redis_url) as rig:
        worker = await rig.worker()
        ids = [(await rig.submit(metadata=b'{"a":1}')).id for _ in range(4)]
        keyed = await rig.submit(idempotency_key="k", fingerprint="f")
        claimed = {job.id: job for job in await worker.claim(4, start=True)}
        done, failed, back = (claimed[each] for each in ids[:3])
        await worker.settle([Outcome(done.id, done.token, "succeeded", b"1")])
        await worker.settle([Outcome(failed.id, failed.token, "failed", b"{}")])
        other = await rig.worker("w2")
        await other.leave()
        await worker.hand_back([_hand_back(back.id, back.token)])
        client = redis.Redis.from_url(redis_url, decode_responses=True)
        made = Scene(rig, client, keyed.id, ids[3], done.id, failed.id, back.id, worker.life)
        assert await made.findings() == set()
        yield made
        client.close()


def _hand_back(identifier: str, token: str):
    from jobs.worker_queue import HandBack

    return HandBack(identifier, token)


Tamper = Callable[[Scene], object]
FAULTS: dict[str, tuple[Tamper, Callable[[Scene], set[tuple[str, str]]]]] = {
    "a key that nobody writes": (
        lambda s: s.redis.set(P + "lost", "1"),
        lambda s: {("unknown", "lost")},
    ),
    "an output without its job": (
        lambda s: s.redis.set(P + "output:job_x", "1", px=10_000),
        lambda s: {("orphan", "output:job_x")},
    ),
    "an output that would stay for ever": (
        lambda s: s.redis.persist(f"{P}output:{s.done}"),
        lambda s: {("stale", f"output:{s.done}")},
    ),
    "an input that goes before its job": (
        lambda s: s.redis.expire(f"{P}input:{s.waiting}", 60),
        lambda s: {("stale", f"input:{s.waiting}")},
    ),
    "a lost input": (
        lambda s: s.redis.delete(f"{P}input:{s.running}"),
        lambda s: {("missing", f"input:{s.running}")},
    ),
    "a lost lane": (
        lambda s: s.redis.delete(f"{P}lane:echo@1:normal:default"),
        lambda s: {("place", f"job:{s.waiting}"), ("orphan", "turn:echo@1")},
    ),
    "a lane without a turn": (
        lambda s: s.redis.delete(f"{P}turn:echo@1"),
        lambda s: {("missing", "turn:echo@1")},
    ),
    "a job in two places": (
        lambda s: s.redis.zadd(f"{P}returned:echo@1", {s.waiting: 1}),
        lambda s: {("place", f"job:{s.waiting}"), ("orphan", "returned:echo@1")},
    ),
    "a job that left the returned ones": (
        lambda s: s.redis.delete(f"{P}returned:echo@1"),
        lambda s: {("place", f"job:{s.returned}")},
    ),
    "a running job that nobody holds": (
        lambda s: s.redis.hdel(f"{P}held:{s.life}", s.running),
        lambda s: {("place", f"job:{s.running}")},
    ),
    "a worker without a beat": (
        lambda s: s.redis.zrem(f"{P}beats", s.life),
        lambda s: {("orphan", f"held:{s.life}"), ("orphan", f"worker:{s.life}")},
    ),
    "another's token": (
        lambda s: s.redis.hset(f"{P}held:{s.life}", s.running, "99"),
        lambda s: {("orphan", f"held:{s.life}")},
    ),
    "a counter that is off": (
        lambda s: s.redis.hincrby(f"{P}counts:echo", "running", 1),
        lambda s: {("counter", "counts:echo")},
    ),
    "a finished job that is never deleted": (
        lambda s: s.redis.zrem(f"{P}due", s.done),
        lambda s: {("missing", "due")},
    ),
    "a job that cannot be listed": (
        lambda s: s.redis.zrem(f"{P}index:default:echo", s.done),
        lambda s: {("missing", "index:default:echo")},
    ),
    "a failed job that administrators do not see": (
        lambda s: s.redis.zrem(f"{P}dead", s.failed),
        lambda s: {("missing", "dead")},
    ),
    "a dead letter that did not fail": (
        lambda s: s.redis.zadd(f"{P}dead", {s.done: 1}),
        lambda s: {("orphan", "dead")},
    ),
    "a record that is gone": (
        lambda s: s.redis.delete(f"{P}job:{s.waiting}"),
        lambda s: {
            ("orphan", f"input:{s.waiting}"),
            ("orphan", "lane:echo@1:normal:default"),
            ("orphan", "due"),
            ("orphan", "index:default:echo"),
            ("orphan", f"idem:{_digest()}"),
            ("counter", "counts:echo"),
        },
    ),
    "a key for one request that was forgotten": (
        lambda s: s.redis.delete(f"{P}idem:{_digest()}"),
        lambda s: {("missing", f"idem:{_digest()}")},
    ),
}


def _digest() -> str:
    from jobs.shards import idempotency_digest

    return idempotency_digest("default", "echo", "k")


@pytest.mark.parametrize("name", FAULTS)
async def test_each_fault_is_named(scene: Scene, name: str) -> None:
    tamper, expected = FAULTS[name]
    tamper(scene)
    assert await scene.findings() == expected(scene)


async def test_a_batch_whose_books_are_wrong_is_named(redis_url: str) -> None:
    async with rig_on(redis_url) as rig:
        from .queue_rig import JOB

        made = await rig.queue.submit_batch([JOB] * 3, shards=SHARDS)
        assert await audit(rig.connections, rig.options, look_again_s=0) == []
        client = rig.connections.client
        await client.hincrby(f"{P}batch:{made.id}", "open", 1)
        await client.hincrby(f"{P}batch:{made.id}", "queued", -1)
        found = await audit(rig.connections, rig.options, look_again_s=0)
        assert [each.kind for each in found] == ["counter", "counter"]
        assert {"open" in each.detail for each in found} == {True, False}


async def test_what_only_changes_between_two_looks_is_no_finding(scene: Scene) -> None:
    import asyncio

    scene.redis.set(P + "lost", "1")
    looking = asyncio.create_task(audit(scene.rig.connections, scene.rig.options, look_again_s=0.5))
    await asyncio.sleep(0.25)
    scene.redis.delete(P + "lost")
    assert await looking == []
