"""The life of a job: its states, and the one table of what may follow what."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """A job's state as every client sees it."""

    QUEUED = "queued"
    RUNNING = "running"
    CANCELING = "canceling"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    CANCELED = "canceled"
    EXPIRED = "expired"
    TIMED_OUT = "timed_out"


class Priority(StrEnum):
    """A job's priority; under saturation they are served 8:3:1."""

    HIGH = "high"
    NORMAL = "normal"
    LOW = "low"


#: The share of turns that a lane of each priority gets while all have work.
WEIGHTS: dict[Priority, int] = {Priority.HIGH: 8, Priority.NORMAL: 3, Priority.LOW: 1}

#: States that never change again.
FINAL: frozenset[Status] = frozenset(
    {Status.SUCCEEDED, Status.FAILED, Status.CANCELED, Status.EXPIRED, Status.TIMED_OUT}
)

#: Every allowed transition. `queued -> failed` is an input that a custom validator or `prepare`
#: refused before any batch.
TRANSITIONS: dict[Status, frozenset[Status]] = {
    Status.QUEUED: frozenset({Status.RUNNING, Status.FAILED, Status.CANCELED, Status.EXPIRED}),
    Status.RUNNING: frozenset(
        {Status.QUEUED, Status.CANCELING, Status.SUCCEEDED, Status.FAILED, Status.TIMED_OUT}
    ),
    Status.CANCELING: frozenset({Status.CANCELED}),
    **{final: frozenset() for final in FINAL},
}

#: From these a new attempt may be asked for with a new job.
RETRYABLE: frozenset[Status] = FINAL - {Status.SUCCEEDED}
