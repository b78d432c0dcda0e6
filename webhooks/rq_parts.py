"""RQ as it is used here: JSON, a queue of our own, and callables from a short list."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import Any

from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer

from telemetry import logs

#: The only callables that run, whatever is written into RQ's Redis.
RELEASE, SWEEP = "webhooks.retries.release", "webhooks.retries.sweep"
HOUSEKEEP = "webhooks.retries.housekeep"
ALLOWED = (RELEASE, SWEEP, HOUSEKEEP)

TIMEOUT_S = 60
FAILURE_TTL_S = 7 * 86400

log = logs.get("webhooks.rq")


class NotAllowed(Exception):
    """A job of RQ names a callable that is not ours."""


class AllowedJob(Job):
    """A job that runs nothing but what is allowed: its names are paths that RQ would import."""

    @property
    def func(self) -> Callable[..., Any]:
        """The callable; NotAllowed for any that is not listed."""
        name = self.func_name
        if name not in ALLOWED or self.instance is not None:
            log.error("rq_job_refused", job_id=self.id, callable=str(name)[:200])
            raise NotAllowed(f"{name} is not a callable of webhooks")
        found: Callable[..., Any] = super().func
        return found

    @property
    def success_callback(self) -> None:
        """None: ours have none."""

    @property
    def failure_callback(self) -> None:
        """None: ours have none."""

    @property
    def stopped_callback(self) -> None:
        """None: ours have none."""

    def send_webhooks(self, *_: Any, **__: Any) -> None:
        """Send nothing: RQ's own webhooks would be sent unchecked and unsigned."""


class AllowedQueue(Queue):
    """A queue of such jobs."""

    job_class = AllowedJob


def queue_name(namespace: str) -> str:
    """Return the name of our queue: two installations on one Redis have two."""
    return f"{namespace}-headrace-webhooks"


def job_id(queue: str, name: str) -> str:
    """Return the id of a job on our queue: ids are RQ's for its whole Redis, whatever the queue.

    RQ takes letters, digits, `_` and `-` alone, and a namespace may have a dot.
    """
    return f"{name}-{hashlib.blake2b(queue.encode(), digest_size=6).hexdigest()}"


def queue_on(connection: Any, namespace: str) -> AllowedQueue:
    """Return our queue; nothing is asked of Redis yet."""
    return AllowedQueue(
        queue_name(namespace),
        connection=connection,
        default_timeout=TIMEOUT_S,
        serializer=JSONSerializer,
    )


#: What each job of ours is enqueued with.
JOB_OPTIONS = {"job_timeout": TIMEOUT_S, "result_ttl": 0, "failure_ttl": FAILURE_TTL_S}
