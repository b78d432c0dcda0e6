"""The audit names each thing that does not fit, and nothing else."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any

import pytest
import redis

from jobs import scripts
from jobs.audit import audit
from jobs.worker_queue import HandBack, Outcome

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


def _hand_back(identifier: str, token: str) -> HandBack:
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
    scene.redis.set(P + "lost", "1")
    looking = asyncio.create_task(audit(scene.rig.connections, scene.rig.options, look_again_s=1.5))
    await asyncio.sleep(0.75)
    scene.redis.delete(P + "lost")
    assert await looking == []


async def test_a_system_at_work_is_not_called_broken(redis_url: str) -> None:
    async with rig_on(redis_url) as rig, rig_on(redis_url) as doctor:
        over, ended = asyncio.Event(), 0

        async def traffic() -> None:
            nonlocal ended
            worker = await rig.worker()
            while not over.is_set():
                await asyncio.gather(*(rig.submit() for _ in range(5)))
                jobs = await worker.claim(4, start=True)
                await asyncio.sleep(0.002)
                await worker.settle([Outcome(job.id, job.token, "succeeded", b"1") for job in jobs])
                ended += len(jobs)

        work, audits, kinds = asyncio.create_task(traffic()), 0, set()
        async with asyncio.timeout(50):
            while audits < 10 or ended < 300:
                found = await audit(doctor.connections, doctor.options, look_again_s=0.05)
                kinds |= {each.kind for each in found}
                audits += 1
        over.set()
        await work
        assert kinds <= {"busy"}
        # A counter that is off is named once it can be told from one that moves.
        await rig.connections.client.hincrby(f"{P}counts:echo", "running", 1)
        [finding] = await audit(doctor.connections, doctor.options, look_again_s=0.05)
        assert finding.detail == "running counts 1, there are 0"


async def test_a_wrong_counter_of_a_busy_shard_is_left_for_later(scene: Scene) -> None:
    scene.redis.hincrby(P + "counts:echo", "running", 1)
    looking = asyncio.create_task(audit(scene.rig.connections, scene.rig.options, look_again_s=0.3))
    # All the time: one that came before the first look had ended would be no change.
    while not looking.done():
        await scene.rig.submit()
        await asyncio.sleep(0.02)
    assert [(each.kind, each.key) for each in await looking] == [("busy", P)]


async def test_redis_is_never_held_up_by_a_large_shard(redis_url: str) -> None:
    number, lane = 20_000, "lane:echo@1:normal:default"
    async with rig_on(redis_url) as rig:
        first = await rig.submit()
        client = redis.Redis.from_url(redis_url, decode_responses=True)
        _add_waiting(client, first.id, lane, number)
        client.zrem(f"{P}due", "job_000007")
        client.config_resetstat()
        [finding] = await audit(rig.connections, rig.options, look_again_s=0)
        assert (finding.kind, finding.key) == ("missing", f"{P}due")
        assert finding.detail.startswith("job_000007 is queued")
        stats = client.info("commandstats")
        client.close()
        large = [lane, "due", "index:default:echo", f"job:{first.id}"]
        _, rows = await rig.connections.run(scripts.LOOK, SHARDS[0], [*rig.options.policy, *large])
    # Three looks, of 2,000 elements a page; two sorted sets, one stream.
    assert stats["cmdstat_xrange"]["calls"] >= 3 * 10
    assert stats["cmdstat_zscan"]["calls"] >= 3 * 2 * 10
    for name in ("evalsha", "xrange", "zscan"):
        assert stats[f"cmdstat_{name}"]["usec_per_call"] < 50_000, name
    # None of these is read by the script, what is small behind them is.
    assert [row[1:2] + row[3:] for row in rows[:3]] == [
        [b"", size] for size in (number + 1, number, number + 1)
    ]
    assert len(rows[3]) == 3


def _add_waiting(client: redis.Redis, like: str, lane: str, number: int) -> None:
    record: dict[str, Any] = dict(client.hgetall(f"{P}job:{like}"))
    with client.pipeline(transaction=False) as pipe:
        for n in range(number):
            name, entry = f"job_{n:06}", f"{1 << 50}-{n + 1}"
            pipe.xadd(P + lane, {"id": name}, entry)
            pipe.hset(f"{P}job:{name}", mapping=record | {"entry": entry})
            pipe.zadd(f"{P}due", {name: 1e15})
            pipe.zadd(f"{P}index:default:echo", {name: 0})
            pipe.set(f"{P}input:{name}", b"1")
        pipe.hincrby(f"{P}counts:echo", "queued", number)
        pipe.execute()


async def test_a_worker_that_holds_very_many_is_read_whole(scene: Scene) -> None:
    held: dict[Any, Any] = {f"job_{n:06}": "t" for n in range(6000)}
    scene.redis.hset(f"{P}held:{scene.life}", mapping=held)
    found = await audit(scene.rig.connections, scene.rig.options, look_again_s=0)
    assert {each.detail.partition(" ")[0] for each in found} == held.keys()
