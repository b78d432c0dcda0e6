"""Callbacks as they are asked for, told and kept: events, deliveries, tries."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import msgspec

from jobs.job import Batch, Job

#: Events of a job on its way: best effort, tried once, dropped once the job is final.
ON_THE_WAY = ("job.started", "job.progress")
#: Events of an end: told at least once. What a webhook is told of when it does not say.
FINAL_EVENTS = (
    "job.succeeded",
    "job.failed",
    "job.canceled",
    "job.expired",
    "job.timed_out",
    "batch.finished",
)
EVENTS = (*ON_THE_WAY, *FINAL_EVENTS)


class Webhook(msgspec.Struct, frozen=True, kw_only=True):
    """Where a submit wants its events sent, as it is kept with the job (JSON)."""

    url: str
    events: tuple[str, ...] = FINAL_EVENTS
    #: Write-only: signs these events instead of the tenant's secret.
    secret: str | None = None


def webhook_of(text: bytes | None) -> Webhook | None:
    """Return what a submit asked for from how it is kept; None for nothing, or nothing readable."""
    if text is None:
        return None
    try:
        return msgspec.json.decode(text, type=Webhook)
    except msgspec.MsgspecError:
        return None


def wanted_events(webhook: bytes | None) -> str:
    """Return which of its events a job tells its outbox of, as its record says it."""
    asked = webhook_of(webhook)
    if asked is None:
        return ""
    wanted = [event.removeprefix("job.") for event in asked.events if event.startswith("job.")]
    final = {event.removeprefix("job.") for event in FINAL_EVENTS if event.startswith("job.")}
    return "1" if set(wanted) == final else " ".join(wanted)


def batch_webhook(webhook: bytes | None) -> bytes:
    """Return the webhook of a batch as its record keeps it: empty if it is not to be told."""
    asked = webhook_of(webhook)
    return webhook if webhook and asked and "batch.finished" in asked.events else b""


class DeliveryStatus(StrEnum):
    """What became of a delivery so far; only `pending` changes by itself."""

    PENDING = "pending"
    DELIVERED = "delivered"
    #: Every try of the schedule failed.
    FAILED = "failed"
    #: Its endpoint is disabled.
    DISABLED = "disabled"
    #: An event on the way that could not be told at once.
    DROPPED = "dropped"


class Try(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One try at a delivery, as it is kept (JSON) and shown; `at` is Unix milliseconds."""

    at: int
    #: delivered, or why not: status_NNN, redirect, gone, timeout, dns, connect, tls, reset,
    #: protocol, forbidden, no_secret.
    outcome: str
    seconds: float = 0.0
    status: int | None = None
    #: A sentence about what went wrong.
    error: str | None = None
    #: The first 2 KiB of the answer.
    response: str | None = None
    #: Milliseconds: when it is tried again.
    next_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Untold:
    """An event in the outbox of a shard; `job` is None for an event of a batch, and vice versa."""

    #: Its entry in the outbox.
    entry: str
    type: str
    #: Unix milliseconds.
    at: int
    seq: int
    tenant: str
    #: None where the record is gone without a trace: nobody can be told.
    webhook: Webhook | None
    #: The id of the job or batch.
    owner: str
    job: Job | None = None
    batch: Batch | None = None
    #: The job has an output that is too long to be sent.
    linked: bool = False
    #: Of what its submit was a part.
    traceparent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class NewDelivery:
    """A delivery about to be written in place of its event."""

    id: str
    entry: str
    owner: str
    tenant: str
    type: str
    url: str
    endpoint: str
    secret: str | None
    body: bytes
    #: Of what the submit was a part; so are its tries, and the receiver is told.
    traceparent: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """A delivery in the hands of a sender, until `lease_s` after it was taken."""

    id: str
    owner: str
    tenant: str
    type: str
    url: str
    #: Which endpoint it is for: limits and the breaker are for each.
    endpoint: str
    secret: str | None
    body: bytes
    #: Tries made before.
    tries: int
    #: Whose lease this is; a result under another one is logged and changes nothing else.
    token: str
    #: Of what the submit was a part.
    traceparent: str | None = None

    @property
    def best_effort(self) -> bool:
        """Whether it is tried once only."""
        return self.type in ON_THE_WAY


class Verdict(StrEnum):
    """What a try means for its delivery."""

    DELIVERED = "delivered"
    #: Again at `next_at`.
    RETRY = "retry"
    #: It was the last one.
    FAILED = "failed"
    #: The receiver wants nothing any more (410): its endpoint is disabled.
    GONE = "gone"
    #: Not tried after all: due again at once, no try is counted.
    BACK = "back"


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """The result of one try."""

    delivery: Delivery
    verdict: Verdict
    #: None with BACK alone.
    tried: Try | None = None
    #: Unix milliseconds; with RETRY.
    next_at: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Leased:
    """Deliveries that are due and now this sender's, and when (Unix ms) there may be more."""

    deliveries: Sequence[Delivery]
    #: The shard's clock.
    now: int
    #: When the next one is due that was not taken; None where nothing waits.
    next_at: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryRecord:
    """A delivery as its log shows it; times are Unix milliseconds."""

    id: str
    owner: str
    tenant: str
    type: str
    url: str
    endpoint: str
    status: DeliveryStatus
    created_at: int
    next_at: int | None
    tries: Sequence[Try]


@dataclass(frozen=True, slots=True, kw_only=True)
class Endpoint:
    """An address that is told of events; times are Unix milliseconds."""

    id: str
    tenant: str
    url: str
    #: Nothing but failures since then.
    failing_since: int | None = None
    disabled_at: int | None = None
    #: Why it is disabled.
    reason: str | None = None
