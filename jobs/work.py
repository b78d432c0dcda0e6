"""What passes between a worker and the queue."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import msgspec

from jobs.errors import NotDurable, QueueUnavailable
from jobs.states import Priority

#: Bytes of an attempt's detail that are kept: a stack of some hundred frames.
DETAIL_BYTES = 8192


class Ended(msgspec.Struct, frozen=True):
    """An attempt that ended in anything but success, as its trace needs it."""

    attempt: int
    #: Unix milliseconds.
    ended_at: int
    #: One word.
    reason: str
    worker: str = ""


@dataclass(frozen=True, slots=True)
class Claimed:
    """A job that this life owns; `token` must come with every write about it."""

    id: str
    token: str
    input: bytes
    tenant: str
    priority: Priority
    #: The attempt that a start makes or made it, from 1.
    attempt: int
    #: Above 0 for every job that must run alone, also for one that never began on lost workers.
    crashes: int
    timeout_s: float
    deadline_at: int | None
    request_id: str | None
    created_at: int
    #: Already `running`: claimed and started in one step.
    started: bool
    #: Of what it is a part, where traces were asked for.
    traceparent: str | None = None
    #: How its last attempt ended, where traces were asked for and there was one.
    last: Ended | None = None


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a job ended: kind is succeeded, failed, timed_out, canceled or retry."""

    id: str
    token: str
    kind: str
    #: The output, or the error object, as JSON.
    payload: bytes = b""
    backoff_s: float = 0.0
    #: Why the attempt ended, one word, and what its keeper knows more (a stack): for admins.
    code: str = ""
    detail: str = ""

    def args(self) -> tuple[Any, ...]:
        """Return what the settle script takes of it."""
        backoff_ms = int(self.backoff_s * 1000)
        reason, detail = self.code or self.kind, _kept(self.detail)
        return (self.id, self.token, self.kind, self.payload, backoff_ms, reason, detail)


@dataclass(frozen=True, slots=True)
class HandBack:
    """A job given up; `charge` counts a crash, `alone` says that it ran without mates."""

    id: str
    token: str
    charge: bool = False
    alone: bool = False
    #: Why, one word, and what its keeper knows more (a stack): for admins.
    reason: str = ""
    detail: str = ""

    def args(self) -> tuple[Any, ...]:
        """Return what the hand back script takes of it."""
        flags = (int(self.charge), int(self.alone))
        return (self.id, self.token, *flags, self.reason or "handed_back", _kept(self.detail))


@dataclass(frozen=True, slots=True)
class BeatAnswer:
    """Where a worker and Redis differ.

    `owned_not_held` and `lost` name only what stood so in two beats in a row: one alone may be a
    claim or settle on its way. With `failure`, only some shards have answered; this is what they
    said.
    """

    buried: bool = False
    owned_not_held: list[tuple[str, str]] = field(default_factory=list)
    canceling: list[str] = field(default_factory=list)
    lost: list[str] = field(default_factory=list)
    failure: QueueUnavailable | NotDurable | None = None


def claimed_from(row: Sequence[Any]) -> Claimed:
    """Read a row of what the claim script answers."""
    identifier, token, payload, tenant, priority, attempt, crashes, timeout, *rest = row
    deadline, request, created, started, *trace = rest
    parent, last = trace or (b"", b"")
    return Claimed(
        id=identifier.decode(),
        token=token.decode(),
        input=payload,
        tenant=tenant.decode(),
        priority=Priority(priority.decode()),
        attempt=int(attempt),
        crashes=int(crashes),
        timeout_s=float(timeout),
        deadline_at=int(deadline) if deadline else None,
        request_id=request.decode() or None,
        created_at=int(created),
        started=bool(started),
        traceparent=parent.decode() or None,
        last=msgspec.json.decode(last, type=Ended) if last else None,
    )


def _kept(detail: str) -> bytes:
    # The scripts put it into JSON as it is, so it must be whole UTF-8.
    return detail.encode(errors="replace")[:DETAIL_BYTES].decode(errors="ignore").encode()
