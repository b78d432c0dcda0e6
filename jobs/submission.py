"""A job on its way into the submit script, and what comes of it."""

from __future__ import annotations

from collections.abc import Sequence

from jobs.commit import MAX_BYTES
from jobs.errors import IdempotencyConflict, QueueFull
from jobs.ids import new_job_id
from jobs.job import Job, NewJob
from jobs.shards import idempotency_digest, pick
from jobs.states import Status
from jobs.webhook import wanted_events


class Entry:
    """A job with its id, its shard, and its arguments to the script."""

    __slots__ = ("args", "id", "shard")

    def __init__(self, job: NewJob, identifier: str, shard: int, digest: str, watch: str) -> None:
        self.id = identifier
        self.shard = shard
        deadline = "" if job.deadline_s is None else int(job.deadline_s * 1000)
        self.args: tuple[bytes | str | float, ...] = (
            identifier,
            job.model,
            job.version,
            job.tenant,
            job.priority.value,
            job.input,
            job.timeout_s,
            deadline,
            job.extra(),
            digest,
            job.fingerprint,
            job.retry_of or "",
            job.request_id or "",
            watch,
            wanted_events(job.webhook),
            "1" if job.pinned else "",
        )

    def bytes(self) -> int:
        """Return about how much of a group's size this takes."""
        return min(MAX_BYTES, 256 + len(self.args[5]))  # type: ignore[arg-type]


def digest_of(job: NewJob, key: str | None) -> str:
    """Return the digest of an Idempotency-Key, empty without one."""
    return "" if key is None else idempotency_digest(job.tenant, job.model, key)


def entry_for(job: NewJob, shards: Sequence[int], watch: str = "") -> Entry:
    """Mint the id of a job on one of its model's shards."""
    digest = digest_of(job, job.idempotency_key)
    shard = pick(shards, digest or None)
    return Entry(job, new_job_id(shard), shard, digest, watch)


def fresh(job: NewJob, identifier: str, created_at: int, batch: str = "") -> Job:
    """Return a job as it is in the moment after its submit, without reading it back."""
    deadline = None
    if job.deadline_s is not None:
        deadline = created_at + int(job.deadline_s * 1000)
    return Job(
        id=identifier,
        model=job.model,
        version=job.version,
        tenant=job.tenant,
        status=Status.QUEUED,
        priority=job.priority,
        input=job.input,
        created_at=created_at,
        deadline_at=deadline,
        timeout_s=job.timeout_s,
        extra=job.extra() or None,
        retry_of=job.retry_of,
        batch=batch or None,
        request_id=job.request_id,
    )


def refuse(verdict: bytes, value: bytes | int) -> None:
    """Raise what the script refused the submit with, if it did."""
    if verdict == b"full":
        raise QueueFull(f"The queue of this model is full: {int(value)} jobs wait.")
    if verdict == b"conflict":
        raise IdempotencyConflict(
            "This Idempotency-Key was used for another request. Use a new key, or send the same "
            "request again."
        )
