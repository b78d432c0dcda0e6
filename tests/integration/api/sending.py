"""The sender of webhooks, moved by hand: what it writes is what the API shows."""

from __future__ import annotations

import hashlib
import time
from typing import Any

from jobs.ids import new_webhook_id
from jobs.outbox import Outbox
from jobs.policy import QueueOptions
from jobs.shards import shards_for_model
from jobs.view import event_body
from jobs.webhook import Delivery, NewDelivery, Told, Try, Untold, Verdict
from tests.integration.api.conftest import Api

#: Public by its number, so that no name server is asked.
URL = "https://93.184.215.14/hook"
SECRET = "whsec_" + "QUFB" * 8


class Sender:
    """Makes deliveries of the events of a model's jobs, and ends them as told."""

    def __init__(self, api: Api, model: str = "echo") -> None:
        self.outbox = Outbox(api.redis, QueueOptions(), sender="hand", disable_after_s=3600)
        self.shards = shards_for_model(model)

    async def take(self) -> list[tuple[int, Delivery]]:
        """Return what is to be sent, new and due."""
        taken = []
        for shard in self.shards:
            events = await self.outbox.untold(shard, 100)
            new = [_new(shard, event) for event in events]
            found = await self.outbox.post(shard, new, lease_s=60) if new else []
            leased = await self.outbox.lease(shard, most=100, each=100, room={}, lease_s=60)
            taken += [(shard, delivery) for delivery in [*found, *leased.deliveries]]
        return taken

    async def end(self, verdict: Verdict = Verdict.DELIVERED, *, status: int = 200) -> list[str]:
        """Take all there is, let each try end like this, and return the ids."""
        taken = await self.take()
        for shard, delivery in taken:
            outcome = "delivered" if verdict is Verdict.DELIVERED else f"status_{status}"
            now = time.time_ns() // 1_000_000
            next_at = now + 60_000 if verdict is Verdict.RETRY else None
            answered: dict[str, Any] = {"status": status, "seconds": 0.25, "response": "what?"}
            tried = Try(at=now, outcome=outcome, next_at=next_at, **answered)
            told = Told(delivery=delivery, verdict=verdict, tried=tried, next_at=next_at)
            await self.outbox.settle(shard, [told])
        return [delivery.id for _, delivery in taken]


def _new(shard: int, event: Untold) -> NewDelivery:
    assert event.webhook is not None
    endpoint = hashlib.sha256(f"{event.tenant} {event.webhook.url}".encode()).hexdigest()[:32]
    return NewDelivery(
        id=new_webhook_id(shard),
        entry=event.entry,
        owner=event.owner,
        tenant=event.tenant,
        type=event.type,
        url=event.webhook.url,
        endpoint=endpoint,
        secret=event.webhook.secret,
        body=event_body(event),
    )
