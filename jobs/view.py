"""A job, a batch and an event as the JSON that everybody outside sees."""

from __future__ import annotations

import functools
import time
from typing import Any

import orjson

from jobs.job import Batch, Job
from jobs.states import Status
from jobs.webhook import Untold


@functools.lru_cache(maxsize=512)
def _seconds(second: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(second))


def timestamp(milliseconds: int | None) -> str | None:
    """Return RFC 3339 in UTC with milliseconds."""
    if milliseconds is None:
        return None
    second, rest = divmod(milliseconds, 1000)
    return f"{_seconds(second)}.{rest:03d}Z"


def job_object(job: Job, queue: dict[str, Any] | None) -> dict[str, Any]:
    """Return a job's fields, in the order of the contract; `queue` is its place while it waits."""
    link = f"/v1/jobs/{job.id}"
    webhook, metadata = (None, None) if job.extra is None else extra_of(job.extra)
    return {
        "id": job.id,
        "model": job.model,
        "version": job.version,
        "status": job.status,
        "input": _raw(job.input),
        "output": _raw(job.output),
        "error": _raw(job.error),
        "priority": job.priority,
        "attempt": job.attempt,
        "crashes": job.crashes,
        "progress": _raw(job.progress),
        "queue": queue,
        "created_at": timestamp(job.created_at),
        "started_at": timestamp(job.started_at),
        "finished_at": timestamp(job.finished_at),
        "deadline_at": timestamp(job.deadline_at),
        "retained_until": timestamp(job.retained_until),
        "timeout_s": job.timeout_s,
        "metrics": _metrics(job),
        "webhook": webhook,
        "metadata": metadata,
        "retry_of": job.retry_of,
        "batch": job.batch,
        "links": {"self": link, "cancel": f"{link}/cancel"},
    }


def _raw(payload: bytes | None) -> orjson.Fragment | None:
    return None if payload is None else orjson.Fragment(payload)


def _metrics(job: Job) -> dict[str, Any]:
    return {
        "queue_s": _between(job.created_at, job.started_at),
        "run_s": _between(job.started_at, job.finished_at),
        "batch_size": job.batch_size,
        "worker": job.worker,
    }


def _between(start: int | None, end: int | None) -> float | None:
    return None if start is None or end is None else max(0, end - start) / 1000


def extra_of(extra: bytes) -> tuple[dict[str, Any] | None, Any]:
    """Return a job's webhook, without its secret, and its metadata."""
    stored = orjson.loads(extra)
    webhook = stored.get("webhook")
    if webhook is not None:
        # The secret is write-only.
        webhook = {"url": webhook.get("url"), "events": webhook.get("events")}
    return webhook, stored.get("metadata")


def batch_object(batch: Batch) -> dict[str, Any]:
    """Return a batch: how many of its jobs are in which state."""
    link = f"/v1/batches/{batch.id}"
    return {
        "id": batch.id,
        "model": batch.model,
        "total": batch.total,
        "counts": {status.value: batch.counts.get(status, 0) for status in Status},
        "created_at": timestamp(batch.created_at),
        "finished_at": timestamp(batch.finished_at),
        "links": {"self": link, "jobs": f"/v1/jobs?batch={batch.id}"},
    }


def event_body(event: Untold) -> bytes:
    """Return what a receiver is sent: type, time, and the job without its input, or the batch.

    An output that was too long to be read with the event is linked: `links.output` is where the job
    with its output is.
    """
    if event.batch is not None:
        data = {**batch_object(event.batch), "seq": event.seq}
    elif event.job is not None:
        data = job_object(event.job, None)
        for name in ("input", "queue"):
            del data[name]
        data["seq"] = event.seq
        if event.linked:
            data["links"] = {**data["links"], "output": data["links"]["self"]}
    else:
        raise ValueError(f"there is nothing to tell of {event.entry}")
    return orjson.dumps({"type": event.type, "timestamp": timestamp(event.at), "data": data})
