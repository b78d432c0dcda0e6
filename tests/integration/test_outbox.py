"""Events become deliveries, deliveries are tried, tried again, and kept: on a real Redis."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest
from msgspec.structs import replace

from headrace.chaos.aftermath import still_telling
from jobs.audit import audit
from jobs.errors import NoSuchWebhook
from jobs.ids import shard_of
from jobs.view import event_body
from jobs.webhook import EVENTS, DeliveryStatus, Verdict, Webhook
from tests.integration.queue_rig import JOB, SHARDS, Rig, done, rig_on
from tests.integration.sender_rig import ENDPOINT, SHARD, URL, Sender, ended, soon


@pytest.fixture
async def sender(rig: Rig) -> AsyncIterator[Sender]:
    yield Sender(rig)
    assert await audit(rig.connections, rig.options, look_again_s=0.01) == []


async def test_an_end_is_told_once_whoever_comes_first(rig: Rig, sender: Sender) -> None:
    job = await ended(rig)
    [event] = await sender.untold()
    assert (event.type, event.owner, event.tenant, event.seq) == (
        "job.succeeded",
        job.id,
        "default",
        1,
    )
    assert event.webhook == Webhook(url=URL, secret="s" * 20)
    body = json.loads(event_body(event))
    assert body["type"] == "job.succeeded"
    assert (body["data"]["output"], body["data"]["seq"], body["data"]["id"]) == (2, 1, job.id)
    assert "input" not in body["data"]
    assert "secret" not in json.dumps(body)
    other = Sender(rig, "s2")
    first, second = sender.new(event), other.new(event)
    [mine] = await sender.outbox.post(SHARD, [first], lease_s=60)
    assert await other.outbox.post(SHARD, [second], lease_s=60) == []
    # The answer was lost: it is the same delivery.
    [again] = await sender.outbox.post(SHARD, [first], lease_s=60)
    assert again == mine
    assert await sender.untold() == []
    assert await other.lease() == []
    await sender.settle(mine, Verdict.DELIVERED)
    [record] = await sender.log.of(job.id, "default")
    assert (record.status, len(record.tries)) == (DeliveryStatus.DELIVERED, 1)
    assert await sender.log.of(job.id, "other") == []
    kept = await rig.get(job)
    assert kept.retained_until >= soon(86400) - 5000


async def test_what_no_sender_has_taken_up_is_still_to_be_told(
    rig: Rig, sender: Sender, redis_url: str
) -> None:
    async def telling() -> bool:
        return await asyncio.to_thread(still_telling, redis_url)

    assert not await telling()
    await ended(rig)
    assert await telling()
    [delivery] = await sender.post()
    assert await telling()
    await sender.settle(delivery, Verdict.RETRY, soon(60))
    assert await telling()
    await sender.settle(delivery, Verdict.DELIVERED)
    assert not await telling()


async def test_a_lease_that_runs_out_is_taken_over(rig: Rig, sender: Sender) -> None:
    await ended(rig)
    [first] = await sender.post(lease_s=1.5)
    other = Sender(rig, "s2")
    assert await other.lease() == []
    await asyncio.sleep(1.51)
    [second] = await other.lease()
    assert (second.id, second.body) == (first.id, first.body)
    # The first one's failure changes nothing, its success would.
    await sender.settle(first, Verdict.FAILED, at=1)
    [record] = await sender.log.of(first.owner, "default")
    assert (record.status, len(record.tries)) == (DeliveryStatus.PENDING, 1)
    await sender.settle(first, Verdict.DELIVERED, at=2)
    await other.settle(second, Verdict.RETRY, soon(5), at=3)
    [record] = await sender.log.of(first.owner, "default")
    assert (record.status, len(record.tries)) == (DeliveryStatus.DELIVERED, 3)


async def test_a_retry_waits_is_released_and_a_repeat_counts_once(rig: Rig, sender: Sender) -> None:
    await ended(rig)
    [delivery] = await sender.post()
    for _ in range(2):
        await sender.settle(delivery, Verdict.RETRY, soon(1.5))
    [record] = await sender.log.of(delivery.owner, "default")
    assert (len(record.tries), record.status) == (1, DeliveryStatus.PENDING)
    assert record.next_at is not None
    assert await sender.outbox.release(SHARD) == 0
    assert await sender.lease() == []
    await asyncio.sleep(1.51)
    assert await sender.outbox.overdue(SHARD, 0) == 1
    assert await sender.outbox.release(SHARD) == 1
    [again] = await sender.lease()
    assert (again.id, again.tries) == (delivery.id, 1)
    await sender.settle(again, Verdict.BACK)
    [again] = await sender.lease()
    assert again.tries == 1
    await sender.settle(again, Verdict.FAILED, at=9)
    page = await sender.log.undelivered(limit=5)
    assert [each.id for each in page.records] == [delivery.id]


async def test_a_replay_begins_anew_under_the_same_id(rig: Rig, sender: Sender) -> None:
    job = await ended(rig)
    [delivery] = await sender.post()
    await sender.settle(delivery, Verdict.FAILED)
    with pytest.raises(NoSuchWebhook):
        await sender.log.replay(job.id, delivery.id, "other")
    record = await sender.log.replay(job.id, delivery.id, "default")
    assert record.status is DeliveryStatus.PENDING
    assert (await sender.log.undelivered(limit=5)).records == []
    [again] = await sender.lease()
    assert (again.id, again.body, again.tries) == (delivery.id, delivery.body, 0)
    await sender.settle(again, Verdict.DELIVERED, at=5)
    await sender.log.purge(delivery.id)
    with pytest.raises(NoSuchWebhook):
        await sender.log.get(delivery.id)


async def test_gone_disables_the_endpoint_and_a_replay_brings_it_back(
    rig: Rig, sender: Sender
) -> None:
    for _ in range(3):
        await ended(rig)
    first, second, _ = await sender.post()
    await sender.settle(first, Verdict.GONE)
    await sender.settle(second, Verdict.BACK)
    assert await sender.lease() == []
    [endpoint] = await sender.log.endpoints()
    assert (endpoint.id, endpoint.reason, endpoint.url) == (ENDPOINT, "gone", URL)
    await ended(rig)
    assert await sender.post() == []
    assert len((await sender.log.undelivered(limit=9)).records) == 4
    await sender.log.replay(second.owner, second.id, "default")
    [again] = await sender.lease()
    await sender.settle(again, Verdict.DELIVERED, at=4)
    assert await sender.log.endpoints() == []
    assert await sender.log.enable(ENDPOINT) is False


async def test_only_failures_for_long_enough_disable(rig: Rig, sender: Sender) -> None:
    strict = Sender(rig, disable_after_s=0.05)
    await ended(rig)
    [delivery] = await sender.post()
    await strict.settle(delivery, Verdict.RETRY, soon())
    [endpoint] = await sender.log.endpoints()
    assert endpoint.disabled_at is None
    await asyncio.sleep(0.06)
    await sender.outbox.release(SHARD)
    [delivery] = await sender.lease()
    await strict.settle(delivery, Verdict.RETRY, soon(), at=1)
    [endpoint] = await sender.log.endpoints()
    assert endpoint.reason == "failing"
    [record] = await sender.log.of(delivery.owner, "default")
    assert record.status is DeliveryStatus.DISABLED
    assert await sender.log.enable(ENDPOINT) is True


async def test_endpoints_take_turns_and_have_their_room(rig: Rig, sender: Sender) -> None:
    for endpoint in ("a" * 32, "b" * 32):
        for _ in range(4):
            await ended(rig)
        await sender.post(lease_s=None, endpoint=endpoint)
    taken = await sender.lease(each=2)
    assert [each.endpoint[0] for each in taken] == ["a", "a", "b", "b"]
    taken = await sender.lease(room={"a" * 32: 0})
    assert [each.endpoint[0] for each in taken] == ["b", "b"]
    leased = await sender.outbox.lease(SHARD, most=1, each=9, room={}, lease_s=60)
    assert len(leased.deliveries) == 1
    assert leased.next_at == leased.now


async def test_what_was_erased_is_told_all_the_same(rig: Rig, sender: Sender) -> None:
    job = await ended(rig)
    await rig.queue.delete(job.id, "default")
    [event] = await sender.untold()
    assert event.webhook is not None
    body = json.loads(event_body(event))
    assert (body["data"]["id"], body["data"]["status"]) == (job.id, "succeeded")
    assert body["data"]["output"] is None
    [delivery] = await sender.post()
    await sender.settle(delivery, Verdict.DELIVERED)
    assert len(await sender.log.of(job.id, "default")) == 1


async def test_an_end_that_nobody_was_told_of_is_not_swept(redis_url: str) -> None:
    async with rig_on(redis_url, result_ttl_s=0.01) as rig:
        sender = Sender(rig)
        job = await ended(rig)
        await asyncio.sleep(0.03)
        await rig.queue.sweep(SHARDS)
        [event] = await sender.untold()
        assert event.job is not None
        assert event.job.output == b"2"
        [delivery] = await sender.post()
        await sender.settle(delivery, Verdict.DELIVERED)
        await rig.queue.sweep(SHARDS)
        assert (await rig.get(job)).output == b"2"


async def test_events_on_the_way_are_few_and_go_when_it_is_over(rig: Rig, sender: Sender) -> None:
    asked = json.dumps({"url": URL, "events": EVENTS}).encode()
    job = await rig.submit(webhook=asked)
    worker = await rig.worker()
    [claimed] = await worker.claim(1)
    await worker.start([claimed])

    async def tell(fraction: float) -> None:
        await worker.progress([(job.id, claimed.token, b'{"fraction":%.1f}' % fraction)])

    told_at = (f"hr:{{s017}}:job:{job.id}", "told_at")
    await tell(0.1)
    # However slow the machine is, not half a second has passed since.
    await rig.connections.client.hincrby(*told_at, 3_600_000)
    await tell(0.2)
    await tell(0.3)
    types = [event.type for event in await sender.untold()]
    assert types == ["job.started", "job.progress"]
    started, progress = await sender.post()
    assert started.best_effort
    await sender.settle(progress, Verdict.FAILED)
    await sender.settle(started, Verdict.DELIVERED)
    await tell(0.4)
    await rig.connections.client.hincrby(*told_at, -3_600_500)
    await tell(0.5)
    [late] = await sender.untold()
    await worker.settle([done(claimed)])
    await worker.leave()
    await sender.outbox.forget(SHARD, [late])
    [event] = await sender.untold()
    assert (event.type, event.seq) == ("job.succeeded", 4)
    [delivery] = await sender.post()
    await sender.settle(delivery, Verdict.DELIVERED)
    statuses = [each.status.value for each in await sender.log.of(job.id, "default")]
    assert statuses == ["delivered", "dropped", "delivered"]


async def test_a_batch_is_told_of_when_its_last_job_ends(rig: Rig, sender: Sender) -> None:
    asked = json.dumps({"url": URL, "events": ["batch.finished"]}).encode()
    jobs = [replace(JOB, webhook=asked)] * 2
    batch = (await rig.queue.submit_batch(jobs, shards=SHARDS)).id
    worker = await rig.worker()
    for claimed in await worker.claim(2, start=True):
        assert await sender.untold() == []
        await worker.settle([done(claimed)])
    await worker.leave()
    [event] = await sender.untold()
    assert (event.type, event.owner) == ("batch.finished", batch)
    body = json.loads(event_body(event))
    assert body["data"]["counts"]["succeeded"] == 2
    [delivery] = await sender.post()
    await sender.settle(delivery, Verdict.DELIVERED)
    [record] = await sender.log.of(batch, "default")
    assert shard_of(record.id, "wh") == SHARD


async def test_the_bell_says_which_shard(rig: Rig, sender: Sender) -> None:
    heard: asyncio.Queue[int] = asyncio.Queue()

    async def listen() -> None:
        async for shard in sender.outbox.listen(SHARDS):
            heard.put_nowait(shard)

    task = asyncio.create_task(listen())
    assert await asyncio.wait_for(heard.get(), 5) == SHARD
    await ended(rig)
    assert await asyncio.wait_for(heard.get(), 5) == SHARD
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    for delivery in await sender.post():
        await sender.settle(delivery, Verdict.DELIVERED)
