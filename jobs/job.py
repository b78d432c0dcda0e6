"""A job as it is submitted, as it is stored, and as it is read back."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from msgspec import Struct, msgpack

from jobs.states import FINAL, Priority, Status


class NewJob(Struct, frozen=True, kw_only=True, gc=False):
    """What a submit says; payloads are JSON bytes that the queue never looks into."""

    model: str
    version: str
    #: The client named the version: no other may run it.
    pinned: bool = False
    tenant: str
    input: bytes
    priority: Priority = Priority.NORMAL
    timeout_s: float = 300.0
    #: Seconds from now in which the job must have started.
    deadline_s: float | None = None
    metadata: bytes | None = None
    idempotency_key: str | None = None
    #: What a repeat with the same Idempotency-Key must equal.
    fingerprint: str = ""
    retry_of: str | None = None
    traceparent: str | None = None
    request_id: str | None = None
    webhook: bytes | None = None

    @property
    def size(self) -> int:
        """How many bytes its payloads take."""
        return len(self.input) + len(self.metadata or b"") + len(self.webhook or b"")

    def extra(self) -> bytes:
        """Return what is too long for the record, as one JSON object, or nothing."""
        members = []
        if self.metadata is not None:
            members.append(b'"metadata":' + self.metadata)
        if self.webhook is not None:
            members.append(b'"webhook":' + self.webhook)
        if self.traceparent is not None:
            members.append(b'"traceparent":' + json.dumps(self.traceparent).encode())
        return b"{" + b",".join(members) + b"}" if members else b""


class Job(Struct, frozen=True, kw_only=True, gc=False):
    """A job as it is in Redis at one moment; times are Unix milliseconds by Redis's clock."""

    id: str
    model: str
    version: str
    tenant: str
    status: Status
    priority: Priority
    created_at: int
    timeout_s: float
    #: JSON as the client sent it; None after success, when it is no longer kept.
    input: bytes | None = None
    output: bytes | None = None
    error: bytes | None = None
    attempt: int = 0
    crashes: int = 0
    started_at: int | None = None
    finished_at: int | None = None
    deadline_at: int | None = None
    retained_until: int | None = None
    #: JSON `{"fraction": …, "message": …}`.
    progress: bytes | None = None
    #: Jobs before it, as far as known; None when it does not wait, or waits for a backoff to end.
    ahead: int | None = None
    worker: str | None = None
    batch_size: int | None = None
    #: JSON `{"metadata": …, "webhook": …, "traceparent": …}`, each only where given.
    extra: bytes | None = None
    retry_of: str | None = None
    batch: str | None = None
    request_id: str | None = None

    @property
    def final(self) -> bool:
        """Whether this state never changes again."""
        return self.status in FINAL


@dataclass(frozen=True, slots=True)
class Page:
    """Some jobs, newest first, and where the next page begins."""

    jobs: list[Job]
    next_cursor: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Batch:
    """How far a batch is."""

    id: str
    model: str
    tenant: str
    total: int
    created_at: int
    finished_at: int | None = None
    counts: dict[Status, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Submitted:
    """What a submit gives: the job, and whether an earlier request had made it."""

    job: Job
    replayed: bool


@dataclass(frozen=True, slots=True)
class Canceled:
    """What a cancel gives: the job, and whether this call is what ended it."""

    job: Job
    ended: bool


@dataclass(frozen=True, slots=True)
class SubmittedBatch:
    """What a batch submit gives, its jobs in the order of the inputs."""

    id: str
    jobs: list[Job]
    replayed: bool


def _number(value: str | None) -> int | None:
    return int(value) if value else None


def job_from_row(identifier: str, row: Sequence[object]) -> Job:
    """Build a job from one row of the read script."""
    flat, given, result, extra, progress, ahead = row
    record = fields_of(flat)
    status = Status(record["status"])
    payload = result if isinstance(result, bytes) else None
    worker = record.get("worker")
    return Job(
        id=identifier,
        model=record["model"],
        version=record["version"],
        tenant=record["tenant"],
        status=status,
        priority=Priority(record["priority"]),
        created_at=int(record["created_at"]),
        timeout_s=float(record["timeout_s"]),
        input=given if isinstance(given, bytes) else None,
        output=payload if status is Status.SUCCEEDED else None,
        error=payload if status is not Status.SUCCEEDED else None,
        attempt=int(record.get("attempt") or 0),
        crashes=int(record.get("crashes") or 0),
        started_at=_number(record.get("started_at")),
        finished_at=_number(record.get("finished_at")),
        deadline_at=_number(record.get("deadline_at")),
        retained_until=_number(record.get("retained_until")),
        progress=progress if isinstance(progress, bytes) else None,
        ahead=ahead if isinstance(ahead, int) and ahead >= 0 else None,
        worker=worker.rpartition(":")[0] if worker else None,
        batch_size=_number(record.get("batch_size")),
        extra=extra if isinstance(extra, bytes) else None,
        retry_of=record.get("retry_of") or None,
        batch=record.get("batch") or None,
        request_id=record.get("request_id") or None,
    )


def fields_of(flat: object) -> dict[str, str]:
    """Turn Redis's flat list of fields and values into a dict."""
    if not isinstance(flat, list):
        raise TypeError(f"expected a flat list of fields, not {type(flat).__name__}")
    text = [item.decode() for item in flat]
    return dict(zip(text[::2], text[1::2], strict=True))


def jobs_from_wake(message: bytes) -> list[Job]:
    """Build the jobs that a wake message carries whole (MessagePack, as the scripts pack it)."""
    found: list[tuple[str, list[Any]]] = msgpack.decode(message)
    return [job_from_row(identifier, [*map(_as_read, row), None]) for identifier, row in found]


def _as_read(value: Any) -> Any:
    # Lua packs its byte strings as text; a read answers them as bytes.
    if isinstance(value, str):
        return value.encode()
    return [item.encode() for item in value] if isinstance(value, list) else value
