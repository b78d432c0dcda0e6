"""/v1/jobs: read, list, cancel, retry, delete."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.requests import Request
from starlette.responses import Response

from api.dependencies import FrontDep, ReaderDep, SubmitterDep
from api.front import Front
from api.lean_route import LeanRoute
from api.problems import invalid_input
from api.responses import Header, JsonBytes, no_content
from api.retrying import Asked, submit_again
from api.routes.submit import REPLAYED, VARY_PREFER, preference_of
from api.schemas import job_bytes, page_bytes, retry_after
from jobs.job import Job
from jobs.listing import Filter
from jobs.states import Status

router = APIRouter(route_class=LeanRoute)

MAX_PAGE = 200


class Waiting(BaseModel):
    """The query of a read."""

    wait: float | None = Field(
        None, ge=0, allow_inf_nan=False, description="Hold until final, for so many seconds."
    )


class JobFilters(BaseModel):
    """The query of a list."""

    model: str | None = Field(None, description="Only jobs of this model.")
    status: Status | None = Field(None, description="Only jobs in this state.")
    batch: str | None = Field(None, description="Only jobs of this batch.")
    ids: str | None = Field(None, description="Only these jobs: `a,b,c`.")
    limit: int = Field(50, ge=1, le=MAX_PAGE)
    cursor: str | None = Field(None, description="`next_cursor` of the page before.")


@router.get("/v1/jobs")
async def list_jobs(
    front: FrontDep, caller: ReaderDep, query: Annotated[JobFilters, Query()]
) -> Response:
    """List the caller's jobs, newest first."""
    wanted = Filter(
        tenant=caller.tenant,
        models=front.cards.shards(None if query.model is None else [query.model]),
        status=query.status,
        batch=query.batch,
        ids=None if query.ids is None else _split(query.ids),
    )
    page = await front.queue.listing.page(wanted, limit=query.limit, cursor=query.cursor)
    loads = {job.model: front.loads.known(job.model) for job in page.jobs}
    return JsonBytes(page_bytes(page, loads))


@router.get("/v1/jobs/{job_id}")
async def get_job(
    request: Request,
    job_id: str,
    front: FrontDep,
    caller: ReaderDep,
    query: Annotated[Waiting, Query()],
) -> Response:
    """Return a job; with `?wait=N` or `Prefer: wait` hold until it is final."""
    preference = preference_of(request, front)
    extra: list[Header] = [VARY_PREFER]
    if query.wait is not None:
        wait_s = min(query.wait, front.settings.max_wait_s)
    else:
        wait_s = preference.wait_s
        if preference.applied:
            extra.append((b"preference-applied", preference.applied.encode()))
    if wait_s > 0:
        job = await front.queue.wait(job_id, caller.tenant, wait_s)
    else:
        job = await front.queue.get(job_id, caller.tenant)
    return _shown(job, front, extra)


@router.post("/v1/jobs/{job_id}/cancel")
async def cancel_job(job_id: str, front: FrontDep, caller: SubmitterDep) -> Response:
    """Cancel a job: at once while queued, as `canceling` while it runs."""
    canceled = await front.queue.cancel(job_id, caller.tenant)
    if canceled.ended:
        front.count_finished(canceled.job.model, canceled.job.version, "canceled")
    return _shown(canceled.job, front, [])


@router.post("/v1/jobs/{job_id}/retry", status_code=202)
async def retry_job(
    request: Request, job_id: str, front: FrontDep, caller: SubmitterDep
) -> Response:
    """Submit a job that did not succeed once more, to the version in production now."""
    old = await front.queue.get(job_id, caller.tenant)
    submitted = await submit_again(front, old, Asked.by(request))
    extra = [REPLAYED] if submitted.replayed else []
    extra.append((b"location", b"/v1/jobs/" + submitted.job.id.encode()))
    load = front.loads.known(old.model)
    return JsonBytes(job_bytes(submitted.job, load), 202, extra)


@router.delete("/v1/jobs/{job_id}", status_code=204)
async def delete_job(job_id: str, front: FrontDep, caller: SubmitterDep) -> Response:
    """Erase a job that has ended, with all that is kept of it."""
    await front.queue.delete(job_id, caller.tenant)
    return no_content()


def _split(ids: str) -> list[str]:
    found = [part.strip() for part in ids.split(",") if part.strip()]
    if len(found) > MAX_PAGE:
        message = f"List should have at most {MAX_PAGE} items, not {len(found)}"
        raise invalid_input(
            [{"type": "too_long", "loc": ["query", "ids"], "msg": message, "input": len(found)}]
        )
    return list(dict.fromkeys(found))


def _shown(job: Job, front: Front, extra: list[Header]) -> JsonBytes:
    load = front.loads.known(job.model)
    if not job.final:
        extra = [*extra, (b"retry-after", b"%d" % retry_after(job, load))]
    return JsonBytes(job_bytes(job, load), 200, extra)
