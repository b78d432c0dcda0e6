"""One sender's side of the outbox, by hand, for the tests of webhooks in Redis."""

from __future__ import annotations

import json
import time
from typing import Any

from jobs.deliveries import DeliveryLog
from jobs.ids import new_webhook_id
from jobs.outbox import Outbox
from jobs.view import event_body
from jobs.webhook import Delivery, NewDelivery, Told, Try, Untold, Verdict
from tests.integration.queue_rig import SHARDS, Rig, done

[SHARD] = SHARDS
URL = "https://receiver.test/hook"
WEBHOOK = json.dumps({"url": URL, "secret": "s" * 20}).encode()
ENDPOINT = "e" * 32


class Sender:
    """One sender's side, by hand."""

    def __init__(self, rig: Rig, name: str = "s1", disable_after_s: float = 3600) -> None:
        self.outbox = Outbox(
            rig.connections, rig.options, sender=name, disable_after_s=disable_after_s
        )
        self.log = DeliveryLog(rig.connections, rig.options)

    async def untold(self) -> list[Untold]:
        return await self.outbox.untold(SHARD, 100)

    def new(self, event: Untold, endpoint: str = ENDPOINT) -> NewDelivery:
        assert event.webhook is not None
        return NewDelivery(
            id=new_webhook_id(SHARD),
            entry=event.entry,
            owner=event.owner,
            tenant=event.tenant,
            type=event.type,
            url=event.webhook.url,
            endpoint=endpoint,
            secret=event.webhook.secret,
            body=event_body(event),
        )

    async def post(self, *, lease_s: float | None = 60, endpoint: str = ENDPOINT) -> list[Delivery]:
        events = await self.untold()
        new = [self.new(event, endpoint) for event in events]
        return await self.outbox.post(SHARD, new, lease_s=lease_s)

    async def lease(self, **given: Any) -> list[Delivery]:
        asked = {"most": 10, "each": 10, "room": {}, "lease_s": 60, **given}
        return list((await self.outbox.lease(SHARD, **asked)).deliveries)

    async def settle(
        self, delivery: Delivery, verdict: Verdict, next_at: int | None = None, at: int = 0
    ) -> None:
        tried = None if verdict is Verdict.BACK else Try(at=at, outcome=verdict.value)
        told = Told(delivery=delivery, verdict=verdict, tried=tried, next_at=next_at)
        await self.outbox.settle(SHARD, [told])


async def ended(rig: Rig, **given: Any) -> Any:
    """A job with a webhook that has succeeded."""
    job = await rig.submit(**{"webhook": WEBHOOK, **given})
    worker = await rig.worker()
    [claimed] = await worker.claim(1, start=True)
    await worker.settle([done(claimed)])
    await worker.leave()
    return job


def soon(seconds: float = 0.0) -> int:
    return int((time.time() + seconds) * 1000)
