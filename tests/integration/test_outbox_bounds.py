"""However many endpoints fail and events there are: others are told, and all is listed."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

import pytest

from jobs.audit import audit
from jobs.ids import new_webhook_id
from jobs.keys import shard_prefix
from jobs.webhook import EVENTS, DeliveryStatus, Verdict
from tests.integration.queue_rig import Rig
from tests.integration.sender_rig import ENDPOINT, SHARD, URL, Sender, ended

ALL_EVENTS = json.dumps({"url": URL, "events": EVENTS}).encode()


@pytest.fixture
async def sender(rig: Rig) -> AsyncIterator[Sender]:
    yield Sender(rig)
    assert await audit(rig.connections, rig.options, look_again_s=0.01) == []


def key(rig: Rig, name: str) -> str:
    return shard_prefix(rig.connections.namespace, SHARD) + name


async def test_endpoints_that_are_left_alone_hide_none_behind_them(
    rig: Rig, sender: Sender
) -> None:
    await ended(rig)
    await sender.post(lease_s=None)
    closed = [f"{number:032x}" for number in range(2500)]
    lines = key(rig, "lines")
    await rig.connections.client.zadd(lines, dict.fromkeys(closed, 1))
    [leased] = await sender.lease(room=dict.fromkeys(closed, 0))
    assert leased.endpoint == ENDPOINT
    await rig.connections.client.zrem(lines, *closed)


async def test_the_end_is_listed_behind_a_thousand_events_on_the_way(
    rig: Rig, sender: Sender
) -> None:
    job = await ended(rig)
    before = {new_webhook_id(SHARD): number for number in range(1000)}
    await rig.connections.client.zadd(key(rig, f"told:{job.id}"), before)
    [delivery] = await sender.post()
    assert [each.id for each in await sender.log.of(job.id, "default")] == [delivery.id]


async def test_endpoints_whose_record_is_gone_leave_the_list(rig: Rig, sender: Sender) -> None:
    await ended(rig)
    failing = key(rig, "failing")
    await rig.connections.client.zadd(failing, {"f" * 32: 1})
    [delivery] = await sender.post()
    await sender.settle(delivery, Verdict.FAILED)
    assert await rig.connections.client.zrange(failing, 0, -1) == [ENDPOINT.encode()]


async def test_an_event_that_the_version_before_wrote_is_counted_by_nobody(
    rig: Rig, sender: Sender
) -> None:
    job = await ended(rig)
    await rig.connections.client.hdel(key(rig, f"job:{job.id}"), "untold")
    assert len(await sender.post()) == 1
    assert await rig.connections.client.hget(key(rig, f"job:{job.id}"), "untold") == b"0"


async def test_what_happens_on_the_way_is_dropped_for_a_disabled_endpoint(
    rig: Rig, sender: Sender
) -> None:
    await ended(rig)
    [first] = await sender.post()
    await rig.submit(webhook=ALL_EVENTS)
    waiting = await rig.submit(webhook=ALL_EVENTS)
    worker = await rig.worker()
    [before, after] = await worker.claim(2)
    await worker.start([before])
    await sender.post(lease_s=None)
    await sender.settle(first, Verdict.GONE)
    assert await sender.lease() == []
    [kept] = await sender.log.of(before.id, "default")
    assert kept.status is DeliveryStatus.DROPPED
    await worker.start([after])
    assert await sender.post() == []
    assert await sender.log.of(waiting.id, "default") == []
    found = (await sender.log.undelivered(limit=9)).records
    assert [each.id for each in found] == [first.id]
    await worker.leave()
