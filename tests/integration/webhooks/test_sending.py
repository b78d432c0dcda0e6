"""Jobs end, and a receiver hears of it, over a real Redis and real processes."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import Awaitable, Callable
from functools import partial

import aiohttp
import pytest
import redis
from standardwebhooks.webhooks import Webhook as Reference

from headrace.chaos.process import free_port
from jobs.deliveries import DeliveryLog
from jobs.ids import new_webhook_id
from jobs.outbox import Outbox
from jobs.webhook import DeliveryStatus, NewDelivery
from webhooks.endpoints import endpoint_of

from ..queue_rig import SHARDS, Rig, rig_on
from .receiver import SECRET, Process, end_jobs, publish, receiving, until


async def until_status(rig: Rig, owner: str, status: DeliveryStatus, within_s: float = 20.0):
    log = DeliveryLog(rig.connections, rig.options)
    async with asyncio.timeout(within_s):
        while True:
            records = await log.of(owner, "default")
            if records and all(record.status is status for record in records):
                return records
            await asyncio.sleep(0.05)


async def test_the_end_of_a_job_is_told_once_and_signed(rig: Rig, redis_url: str) -> None:
    await publish(rig)
    async with receiving() as receiver:
        with Process("sender", redis_url) as sender:
            [job] = await end_jobs(rig, receiver.url)
            await receiver.until(lambda: receiver.calls)
            [record] = await until_status(rig, job.id, DeliveryStatus.DELIVERED)
            assert sender.end() == 0
    [(identifier, headers, body, _)] = receiver.calls
    Reference(SECRET).verify(body, headers)
    assert identifier == record.id
    told = json.loads(body)
    assert told["type"] == "job.succeeded"
    assert (told["data"]["id"], told["data"]["output"]) == (job.id, 2)
    assert "input" not in told["data"]
    assert [each.outcome for each in record.tries] == ["delivered"]
    assert record.tries[0].response == "noted"


async def test_a_failed_try_comes_again_by_rq_under_the_same_id(rig: Rig, redis_url: str) -> None:
    await publish(rig)
    async with receiving() as receiver:
        receiver.first = [500, 302]
        receiver.headers = {"location": "https://elsewhere.example/"}
        with Process("sender", redis_url), Process("retries", redis_url):
            [job] = await end_jobs(rig, receiver.url)
            [record] = await until_status(rig, job.id, DeliveryStatus.DELIVERED)
    assert len(set(receiver.ids)) == 1
    assert [each.outcome for each in record.tries] == ["status_500", "redirect", "delivered"]
    stamps = [int(call[1]["webhook-timestamp"]) for call in receiver.calls]
    assert stamps == sorted(stamps)


async def test_the_sender_tells_its_health_and_what_it_counted(rig: Rig, redis_url: str) -> None:
    await publish(rig)
    port = free_port()
    async with receiving() as receiver, aiohttp.ClientSession() as session:
        receiver.first = [500]
        with Process("sender", redis_url, metrics_port=port):
            [first] = await end_jobs(rig, receiver.url)
            await receiver.until(lambda: receiver.calls)
            [second] = await end_jobs(rig, receiver.url)
            await until_status(rig, second.id, DeliveryStatus.DELIVERED)

            async def text(path: str) -> str:
                async with session.get(f"http://127.0.0.1:{port}{path}") as answer:
                    assert answer.status == 200
                    return await answer.text()

            for path in ("/healthz", "/livez"):
                assert json.loads(await text(path))["status"] == "ok"
            # Counted once Redis has said that it is stored, which others may see before.
            for outcome in ("retry", "delivered"):
                line = f'headrace_webhook_deliveries_total{{outcome="{outcome}"}} 1.0'
                await until(partial(_tells, text, line))
            # The one that waits for RQ, which does not run here.
            await until(partial(_tells, text, "headrace_webhook_pending 1.0"))
            await until_status(rig, first.id, DeliveryStatus.PENDING)


async def _tells(text: Callable[[str], Awaitable[str]], line: str) -> bool:
    return line in await text("/metrics")


async def test_paths_of_one_host_do_not_wait_for_each_other(rig: Rig, redis_url: str) -> None:
    await publish(rig)
    async with receiving() as receiver:
        receiver.together = 20
        with Process("sender", redis_url, webhook_timeout_s=30):
            for number in range(20):
                await end_jobs(rig, f"{receiver.url}/{number}")
            await receiver.until(lambda: len(receiver.calls) == 20, 25)
    assert len(set(receiver.ids)) == 20


async def test_410_disables_the_endpoint(rig: Rig, redis_url: str) -> None:
    await publish(rig)
    async with receiving() as receiver:
        receiver.status = 410
        with Process("sender", redis_url):
            [first] = await end_jobs(rig, receiver.url)
            await until_status(rig, first.id, DeliveryStatus.DISABLED)
            [second] = await end_jobs(rig, receiver.url)
            await until_status(rig, second.id, DeliveryStatus.DISABLED)
    assert len(receiver.calls) == 1


async def test_what_a_dead_sender_had_leased_is_taken_over(rig: Rig, redis_url: str) -> None:
    await publish(rig)
    async with receiving() as receiver:
        [job] = await end_jobs(rig, receiver.url)
        dead = Outbox(rig.connections, rig.options, sender="dead")
        [event] = await dead.untold(SHARDS[0], 10)
        new = NewDelivery(
            id=new_webhook_id(SHARDS[0]),
            entry=event.entry,
            owner=job.id,
            tenant="default",
            type=event.type,
            url=receiver.url,
            endpoint=endpoint_of("default", receiver.url),
            secret=SECRET,
            body=b"{}",
        )
        assert await dead.post(SHARDS[0], [new], lease_s=2.0)
        with Process("sender", redis_url):
            await until_status(rig, job.id, DeliveryStatus.DELIVERED)
    assert receiver.ids == [new.id]


async def test_a_sender_that_is_killed_leaves_nothing_untold(rig: Rig, redis_url: str) -> None:
    await publish(rig)
    async with receiving() as receiver:
        with Process("sender", redis_url) as first:
            await end_jobs(rig, receiver.url)
            await receiver.until(lambda: receiver.calls)
            first.end(signal.SIGKILL)
        jobs = await end_jobs(rig, receiver.url, 20)
        with Process("sender", redis_url):
            await receiver.until(lambda: len(set(receiver.ids)) == 21)
            for job in jobs:
                await until_status(rig, job.id, DeliveryStatus.DELIVERED)


async def test_sigterm_lets_the_try_under_way_end(rig: Rig, redis_url: str) -> None:
    await publish(rig)
    async with receiving() as receiver:
        receiver.hang = True
        with Process("sender", redis_url, webhook_timeout_s=2) as sender:
            [job] = await end_jobs(rig, receiver.url)
            await receiver.until(lambda: receiver.calls)
            assert await asyncio.to_thread(sender.end) == 0
        [record] = await until_status(rig, job.id, DeliveryStatus.PENDING)
        assert [each.outcome for each in record.tries] == ["timeout"]


async def test_redis_away_while_a_try_is_under_way_loses_no_result(own_redis) -> None:
    async with receiving() as receiver:
        receiver.hang = True
        with Process("sender", own_redis.url, webhook_timeout_s=2) as sender:
            async with rig_on(own_redis.url) as rig:
                await publish(rig)
                [job] = await end_jobs(rig, receiver.url)
                await receiver.until(lambda: receiver.calls)
                own_redis.kill()
                await asyncio.sleep(2.5)
                own_redis.start()
                log = DeliveryLog(rig.connections, rig.options)

                async def tried() -> bool:
                    return bool((await log.of(job.id, "default"))[0].tries)

                await until(tried)
                assert len(receiver.calls) == 1
                assert sender.end() == 0


@pytest.mark.parametrize(
    ("part", "settings", "named"),
    [
        ("sender", {"url": "redis+cluster://127.0.0.1:1"}, "HEADRACE_RQ_REDIS_URL"),
        ("retries", {"rq_redis_url": "http://x"}, "HEADRACE_RQ_REDIS_URL"),
        ("cron", {"webhook_delay_scale": "-1"}, "HEADRACE_WEBHOOK_DELAY_SCALE"),
        (None, {"webhook_allow": "10.0.0.0/99"}, "HEADRACE_WEBHOOK_ALLOW"),
        (None, {"webhook_secret": "whsec_!"}, "HEADRACE_WEBHOOK_SECRET"),
    ],
)
def test_settings_that_cannot_work_are_refused_with_a_sentence(part, settings, named) -> None:
    process = Process(part, **{"url": "redis://127.0.0.1:1", **settings})
    ended = subprocess.run(
        process.command,
        env=process.environment,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert ended.returncode == 2
    assert named in ended.stderr
    assert "Traceback" not in ended.stderr


async def test_the_command_line_starts_it(redis_url: str) -> None:
    process = Process("cron", redis_url)
    process.command[3:4] = ["headrace", "webhooks", "run"]
    with process:
        client = redis.Redis.from_url(redis_url)
        await until(lambda: client.zcard("rq:cron_schedulers"))
        assert process.end() == 0
