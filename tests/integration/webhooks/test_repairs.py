"""What RQ loses, and processes that are killed."""

from __future__ import annotations

import asyncio
import os
import pickle
import signal
from pathlib import Path

import pytest
import redis
from rq import Queue
from rq.serializers import JSONSerializer

from jobs.states import Status
from jobs.webhook import DeliveryStatus
from webhooks.rq_parts import queue_name

from ..queue_rig import Rig
from .receiver import Process, end_jobs, publish, receiving, until
from .test_sending import until_status


async def test_retries_that_rq_lost_with_its_redis_are_found_by_the_cron(
    rig: Rig, redis_url: str, own_redis
) -> None:
    await publish(rig)
    rq = redis.Redis.from_url(own_redis.url)
    async with receiving() as receiver:
        receiver.first = [500]
        with Process("sender", redis_url, rq_redis_url=own_redis.url):
            jobs = await end_jobs(rig, receiver.url)
            await until(lambda: rq.zcard(f"rq:scheduled:{queue_name('hr')}"))
            rq.flushdb()
            # RQ knows nothing of the retry; only now do its processes begin.
            with (
                Process("retries", redis_url, rq_redis_url=own_redis.url),
                Process("cron", redis_url, rq_redis_url=own_redis.url),
            ):
                await until_status(rig, jobs[0].id, DeliveryStatus.DELIVERED, 45)
    assert len(receiver.calls) == 2


async def test_the_cron_keeps_house_where_nobody_lives(rig: Rig, redis_url: str) -> None:
    # No card names this shard, no worker and no API looks at it.
    job = await rig.submit(deadline_s=0.01)
    with Process("retries", redis_url), Process("cron", redis_url):
        async with asyncio.timeout(45):
            while (await rig.get(job)).status is not Status.EXPIRED:  # noqa: ASYNC110
                await asyncio.sleep(0.1)


async def test_rqs_redis_away_does_not_keep_anything_from_being_told(
    rig: Rig, redis_url: str, own_redis
) -> None:
    await publish(rig)
    own_redis.kill()
    async with receiving() as receiver:
        with Process("sender", redis_url, rq_redis_url=own_redis.url):
            [job] = await end_jobs(rig, receiver.url)
            await until_status(rig, job.id, DeliveryStatus.DELIVERED)


@pytest.mark.timeout(180)
async def test_each_part_that_is_killed_is_started_again(rig: Rig, redis_url: str) -> None:
    await publish(rig)
    async with receiving() as receiver:
        with Process(None, redis_url) as whole:
            await until(lambda: len(whole.children()) == 3)
            parts = whole.children()
            await end_jobs(rig, receiver.url)
            await receiver.until(lambda: receiver.calls)
            for pid in parts.values():
                os.kill(pid, signal.SIGKILL)
            receiver.first = [500] * 3
            jobs = await end_jobs(rig, receiver.url, 3)
            # The one that was killed may have had RQ's lock, which outlives it by a minute: then
            # the cron finds them, in its next half minute.
            for job in jobs:
                await until_status(rig, job.id, DeliveryStatus.DELIVERED, 90)
            # One that none of these deliveries needs may still be on its way.
            await until(lambda: whole.children().keys() == parts.keys())
            again = whole.children()
            assert set(again.values()).isdisjoint(parts.values())
            assert await asyncio.to_thread(whole.end) == 0
            assert not [pid for pid in again.values() if _runs(pid)]


async def test_parts_end_with_what_keeps_them(rig: Rig, redis_url: str) -> None:
    with Process(None, redis_url) as whole:
        await until(lambda: len(whole.children()) == 3)
        parts = whole.children()
        whole.end(signal.SIGKILL)
        await until(lambda: not [pid for pid in parts.values() if _runs(pid)])


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


async def test_whoever_writes_to_rqs_redis_runs_nothing_of_his_own(
    redis_url: str, tmp_path: Path
) -> None:
    client = redis.Redis.from_url(redis_url)
    queue = Queue(queue_name("hr"), connection=client, serializer=JSONSerializer)
    proofs = [tmp_path / name for name in ("called", "called-back", "unpickled")]
    plain = queue.enqueue("os.mkdir", str(proofs[0]))
    ours = queue.enqueue("webhooks.retries.release", 17, result_ttl=60)
    client.hset(ours.key, "success_callback_name", "os.mkdir")
    pickled = queue.enqueue("webhooks.retries.release", 17)
    client.hset(pickled.key, "data", pickle.dumps(_Evil(str(proofs[2]))))
    with Process("retries", redis_url):
        await until(lambda: {plain.get_status(), pickled.get_status()} == {"failed"})
        await until(lambda: ours.is_finished)
    assert not [proof for proof in proofs if proof.exists()]


class _Evil:
    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)
