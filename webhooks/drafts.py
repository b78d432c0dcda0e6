"""From events in the outbox to deliveries."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field

from jobs.ids import new_webhook_id
from jobs.view import event_body
from jobs.webhook import ON_THE_WAY, NewDelivery, Untold, Webhook
from telemetry import logs
from webhooks.breaker import Breaker
from webhooks.endpoints import endpoint_of
from webhooks.hand import Hand

log = logs.get("webhooks.drafts")


@dataclass(slots=True)
class Drafts:
    """What becomes of some events."""

    #: Sent from here at once.
    at_once: list[NewDelivery] = field(default_factory=list)
    #: Due for whichever sender has room first.
    later: list[NewDelivery] = field(default_factory=list)
    #: Nobody can be told of these, or they are out of date.
    forgotten: list[Untold] = field(default_factory=list)


def draft(shard: int, events: Sequence[Untold], hand: Hand, breaker: Breaker) -> Drafts:
    """Sort events by what becomes of them, and write the deliveries."""
    drafts = Drafts()
    taken: Counter[str] = Counter()
    for event in events:
        webhook = event.webhook
        if webhook is None or not _is_worth_telling(event, webhook):
            drafts.forgotten.append(event)
            continue
        new = _delivery(shard, event, webhook)
        if new is None or (event.type in ON_THE_WAY and breaker.failing(new.endpoint)):
            # What is told once, if at once, is not kept for a receiver that does not answer.
            drafts.forgotten.append(event)
        elif taken.total() < hand.room and taken[new.endpoint] < hand.room_of(new.endpoint):
            taken[new.endpoint] += 1
            drafts.at_once.append(new)
        else:
            drafts.later.append(new)
    return drafts


def _is_worth_telling(event: Untold, webhook: Webhook) -> bool:
    if event.job is None and event.batch is None:
        return False
    if event.type not in webhook.events:
        return False
    return event.type not in ON_THE_WAY or event.job is None or not event.job.final


def _delivery(shard: int, event: Untold, webhook: Webhook) -> NewDelivery | None:
    try:
        body = event_body(event)
    except Exception:  # a record that cannot be told of must not hold up those behind it
        log.exception("event_unreadable", shard=shard, entry=event.entry, owner=event.owner)
        return None
    return NewDelivery(
        id=new_webhook_id(shard),
        entry=event.entry,
        owner=event.owner,
        tenant=event.tenant,
        type=event.type,
        url=webhook.url,
        endpoint=endpoint_of(event.tenant, webhook.url),
        secret=webhook.secret,
        body=body,
        traceparent=event.traceparent,
    )
