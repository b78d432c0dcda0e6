"""A job, a batch and a page of jobs as the JSON that every client sees."""

from __future__ import annotations

import math
from typing import Any

import orjson

from api.load import seconds_until_started
from jobs import view
from jobs.dead import DeadLetter
from jobs.job import Batch, Job, Page
from jobs.overview import ModelOverview
from jobs.states import Status
from jobs.view import batch_object, extra_of, timestamp


def job_bytes(job: Job, load: ModelOverview | None) -> bytes:
    """Return a job as JSON; its payloads go through as the bytes they are."""
    return orjson.dumps(job_object(job, load))


def job_object(job: Job, load: ModelOverview | None) -> dict[str, Any]:
    """Return a job's fields, in the order of the contract."""
    return view.job_object(job, _queue(job, load))


def _queue(job: Job, load: ModelOverview | None) -> dict[str, Any] | None:
    if job.status != Status.QUEUED:
        return None
    ahead = _ahead(job, load)
    eta_s = None if ahead is None else seconds_until_started(load, ahead)
    return {"ahead": ahead, "eta_s": None if eta_s is None else round(eta_s, 3)}


def _ahead(job: Job, load: ModelOverview | None) -> int | None:
    if job.ahead is not None or load is None or job.attempt or job.crashes:
        return job.ahead
    # A job that was just submitted stands at the end.
    return load.queued


def metadata_of(job: Job) -> bytes | None:
    """Return a job's metadata as JSON, None where it has none."""
    metadata = None if job.extra is None else extra_of(job.extra)[1]
    return None if metadata is None else orjson.dumps(metadata)


def retry_after(job: Job, load: ModelOverview | None) -> int:
    """Return in how many seconds it makes sense to ask for this job again."""
    seconds: float | None = None
    if load is not None:
        queue = _queue(job, load)
        seconds = load.seconds_per_job if queue is None else queue["eta_s"]
    return min(60, max(1, math.ceil(seconds or 1)))


def page_bytes(page: Page, loads: dict[str, ModelOverview | None]) -> bytes:
    """Return one page of a list of jobs."""
    data = [job_object(job, loads.get(job.model)) for job in page.jobs]
    return orjson.dumps({"data": data, "next_cursor": page.next_cursor})


#: Of a dead letter an administrator of another tenant is shown what became of it, not its content.
_CONTENT = ("input", "output", "progress")


def without_content(job: Job, load: ModelOverview | None) -> dict[str, Any]:
    """Return a job's fields as an administrator of another tenant may see them."""
    shown = job_object(job, load)
    for name in _CONTENT:
        del shown[name]
    if job.error is not None:
        error = orjson.loads(job.error)
        if isinstance(error, dict) and isinstance(error.get("errors"), list):
            error["errors"] = without_input(error["errors"])
        shown["error"] = error
    return shown


def without_input(errors: list[Any]) -> list[Any]:
    """Return which fields were wrong and why, without what was given there."""
    return [
        {name: value for name, value in one.items() if name != "input"}
        for one in errors
        if isinstance(one, dict)
    ]


def dead_letter(letter: DeadLetter) -> dict[str, Any]:
    """Return a dead letter: the job without its content, its tenant, and each attempt."""
    job = letter.job
    shown = without_content(job, None)
    del shown["queue"]
    return {
        **shown,
        "tenant": job.tenant,
        "attempts": [
            {
                "attempt": each.attempt,
                "worker": each.worker,
                "life": each.life,
                "started_at": timestamp(each.started_at),
                "ended_at": timestamp(each.ended_at),
                "reason": each.reason,
                "charged": each.charged,
                "detail": each.detail,
            }
            for each in letter.attempts
        ],
        "retried_as": letter.retried_as,
        "links": {"self": f"/v1/admin/dead/{job.id}", "retry": f"/v1/admin/dead/{job.id}/retry"},
    }


def accepted_batch_bytes(batch_id: str, jobs: list[Job], load: ModelOverview | None) -> bytes:
    """Return the answer to a batch submit: its id, and its jobs in the order of the inputs."""
    return orjson.dumps({"batch": batch_id, "jobs": [job_object(job, load) for job in jobs]})


def batch_bytes(batch: Batch) -> bytes:
    """Return a batch: how many of its jobs are in which state."""
    return orjson.dumps(batch_object(batch))
