"""What a sender of webhooks does to Redis, each thing once."""

from __future__ import annotations

import asyncio

from jobs import scripts
from jobs.connection import RedisConnections
from jobs.deliveries import DeliveryLog
from jobs.ids import new_webhook_id
from jobs.outbox import Outbox
from jobs.policy import QueueOptions
from jobs.webhook import Delivery, NewDelivery, Told, Try, Untold, Verdict

SHARD = 17
ENDPOINT = "e" * 32
_ALL = {"most": 9, "each": 9, "room": dict[str, int]()}


async def every_call(connections: RedisConnections, options: QueueOptions, count: int) -> None:
    """Events become deliveries: told, tried again, refused for good, sent again, erased."""
    outbox = Outbox(connections, options, sender="s", disable_after_s=0.01)
    log = DeliveryLog(connections, options)
    for verdict in (Verdict.DELIVERED, Verdict.RETRY, Verdict.FAILED, Verdict.GONE):
        # Of jobs that were erased, of batches, of what was on its way.
        untold = (await outbox.untold(SHARD, 12))[: 4 * count]
        await outbox.forget(SHARD, untold[:1])
        lease_s = None if verdict is Verdict.FAILED else 0.001
        await outbox.post(SHARD, [_delivery(event) for event in untold[1:]], lease_s=lease_s)
        await asyncio.sleep(0.01)
        leased = await outbox.lease(SHARD, **_ALL, lease_s=60)
        first = leased.deliveries[0]
        for number, each in enumerate(leased.deliveries):
            back = Verdict.BACK if number == 1 else verdict
            await outbox.settle(SHARD, [_told(each, back, leased.now + number)])
        await outbox.release(SHARD)
        if verdict is Verdict.GONE:
            args = [*options.policy, ENDPOINT]
            assert await connections.run(scripts.ENDPOINTS, SHARD, args) == 1
        await log.replay(first.owner, first.id, first.tenant)
        for each in (await outbox.lease(SHARD, **_ALL, lease_s=60)).deliveries:
            await outbox.settle(SHARD, [_told(each, Verdict.DELIVERED, leased.now + 99)])
        await log.purge(first.id)
    await outbox.pending(SHARD)


def _told(delivery: Delivery, verdict: Verdict, at: int) -> Told:
    return Told(delivery=delivery, verdict=verdict, tried=Try(at=at, outcome="x"), next_at=at)


def _delivery(event: Untold) -> NewDelivery:
    return NewDelivery(
        id=new_webhook_id(SHARD),
        entry=event.entry,
        owner=event.owner,
        tenant=event.tenant,
        type=event.type,
        url="https://x.test/",
        endpoint=ENDPOINT,
        secret=None,
        body=b"{}",
    )
