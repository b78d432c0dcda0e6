"""/v1/admin/dead: jobs of all tenants that failed or timed out; look, run again, erase."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Annotated, Any, Self

import orjson
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field, model_validator
from starlette.requests import Request
from starlette.responses import Response

from api.body import parsed
from api.dependencies import AdministratorDep, FrontDep
from api.front import Front
from api.lean_route import LeanRoute
from api.responses import JsonBytes, no_content
from api.retrying import Asked, submit_again
from api.routes.submit import REPLAYED, json_body
from api.schemas import dead_letter, without_content, without_input
from jobs.dead import DeadLetter, DeadLetters
from jobs.errors import HeadraceError, InvalidInput, NoSuchJob, QueueUnavailable
from jobs.job import Job, Submitted
from telemetry import logs

router = APIRouter(route_class=LeanRoute)
log = logs.get(__name__)

#: The most dead letters in one answer, and the most that one request retries or erases.
MAX_MANY = 200
#: Of those, so many are under way at once: other requests of this process go on beside them.
_AT_ONCE = 8
#: Begins an administrator's Idempotency-Keys. No header can carry it, so that they never meet those
#: of the tenant whose job is retried.
_APART = "\x01"

Result = dict[str, Any]


class DeadFilters(BaseModel):
    """The query of a list."""

    model: str | None = Field(None, description="Only jobs of this model.")
    limit: int = Field(50, ge=1, le=MAX_MANY)
    cursor: str | None = Field(None, description="`next_cursor` of the page before.")


class Chosen(BaseModel):
    """Which dead letters are meant; without ids, page after page."""

    model_config = ConfigDict(extra="forbid", strict=True)

    ids: list[str] | None = Field(None, min_length=1, max_length=MAX_MANY)
    model: str | None = Field(None, description="All of this model, or of `ids` only its own.")
    all: bool = Field(False, description="All of every model.")
    limit: int = Field(MAX_MANY, ge=1, le=MAX_MANY)
    cursor: str | None = Field(None, description="`next_cursor` of the answer before.")

    @model_validator(mode="after")
    def _something_is_chosen(self) -> Self:
        if self.ids is None and self.model is None and not self.all:
            raise ValueError("choose by `ids` or `model`, or say `all`")
        return self


_BODY = {
    "required": True,
    "content": {"application/json": {"schema": Chosen.model_json_schema()}},
}


@router.get("/v1/admin/dead")
async def list_dead(
    front: FrontDep, caller: AdministratorDep, query: Annotated[DeadFilters, Query()]
) -> Response:
    """List jobs of all tenants that failed or timed out, the last to end first."""
    page = await _dead(front).page(model=query.model, limit=query.limit, cursor=query.cursor)
    data = [dead_letter(letter) for letter in page.letters]
    return JsonBytes(orjson.dumps({"data": data, "next_cursor": page.next_cursor}))


@router.get("/v1/admin/dead/{job_id}")
async def get_dead(job_id: str, front: FrontDep, caller: AdministratorDep) -> Response:
    """Return a job that failed or timed out, with each attempt that was made."""
    return JsonBytes(orjson.dumps(dead_letter(await _dead(front).get(job_id))))


@router.post("/v1/admin/dead/{job_id}/retry", status_code=202)
async def retry_dead(
    request: Request, job_id: str, front: FrontDep, caller: AdministratorDep
) -> Response:
    """Submit a dead letter once more, in its own tenant, to the version in production now."""
    letter = await _dead(front).get(job_id)
    old = await front.queue.get(job_id, letter.job.tenant)
    submitted = await _again(front, old, Asked.by(request))
    # The job is accepted, whether or not this can be noted.
    with contextlib.suppress(QueueUnavailable):
        await _dead(front).retried(job_id, submitted.job.id)
    log.info("dead_retried", by=caller.key_id, jobs={job_id: submitted.job.id})
    extra = [REPLAYED] if submitted.replayed else []
    extra.append((b"location", b"/v1/jobs/" + submitted.job.id.encode()))
    shown = without_content(submitted.job, front.loads.known(old.model))
    return JsonBytes(orjson.dumps(shown), 202, extra)


@router.delete("/v1/admin/dead/{job_id}", status_code=204)
async def purge_dead(job_id: str, front: FrontDep, caller: AdministratorDep) -> Response:
    """Erase a dead letter, with all that is kept of it."""
    letter = await _dead(front).get(job_id)
    await front.queue.delete(job_id, letter.job.tenant)
    log.info("dead_purged", by=caller.key_id, jobs=[job_id])
    return no_content()


@router.post("/v1/admin/dead/retry", openapi_extra={"requestBody": _BODY})
async def retry_many(request: Request, front: FrontDep, caller: AdministratorDep) -> Response:
    """Submit dead letters once more; those that such a request has retried before are skipped."""
    chosen = parsed(Chosen, await json_body(request, front))
    asked = Asked.by(request)

    async def retry(letter: DeadLetter) -> Result:
        job = letter.job
        if letter.retried_as is not None:
            return _result(job.id, "skipped", job=letter.retried_as)
        old = await front.queue.get(job.id, job.tenant)
        # Repeated after an answer was lost, it finds the job that it made.
        key = f"{asked.idempotency_key or 'dead'}:{job.id}"
        submitted = await _again(front, old, replace(asked, idempotency_key=key))
        await _dead(front).retried(job.id, submitted.job.id)
        return _result(job.id, "retried", job=submitted.job.id)

    results, cursor = await _each(front, chosen, retry)
    made = {one["id"]: one["job"] for one in results if one["status"] == "retried"}
    log.info("dead_retried", by=caller.key_id, jobs=made)
    return JsonBytes(orjson.dumps({"data": results, "next_cursor": cursor}))


@router.post("/v1/admin/dead/purge", openapi_extra={"requestBody": _BODY})
async def purge_many(request: Request, front: FrontDep, caller: AdministratorDep) -> Response:
    """Erase dead letters, with all that is kept of them."""
    chosen = parsed(Chosen, await json_body(request, front))

    async def purge(letter: DeadLetter) -> Result:
        await front.queue.delete(letter.job.id, letter.job.tenant)
        return _result(letter.job.id, "purged")

    results, cursor = await _each(front, chosen, purge)
    gone = [one["id"] for one in results if one["status"] == "purged"]
    log.info("dead_purged", by=caller.key_id, jobs=gone)
    return JsonBytes(orjson.dumps({"data": results, "next_cursor": cursor}))


async def _again(front: Front, old: Job, asked: Asked) -> Submitted:
    key = asked.idempotency_key
    if key is not None:
        asked = replace(asked, idempotency_key=_APART + key)
    try:
        return await submit_again(front, old, asked)
    except InvalidInput as error:
        # It tells the fields that no longer fit, not what stands in them: it is another tenant's.
        errors = without_input(error.members.get("errors", []))
        raise InvalidInput(error.detail, errors=errors) from None


def _dead(front: Front) -> DeadLetters:
    return DeadLetters(front.connections, front.settings.queue_options())


async def _each(
    front: Front, chosen: Chosen, act: Callable[[DeadLetter], Awaitable[Result]]
) -> tuple[list[Result], str | None]:
    """Do it to each that was chosen; what one is refused with concerns that one alone."""
    found, cursor = await _chosen(front, chosen)
    turns = asyncio.Semaphore(_AT_ONCE)

    async def one(identifier: str, letter: DeadLetter | None) -> Result:
        async with turns:
            try:
                if letter is None or chosen.model not in (None, letter.job.model):
                    raise NoSuchJob(f"There is no dead letter {identifier}.", job_id=identifier)
                return await act(letter)
            except HeadraceError as error:
                return _result(identifier, "refused", error=error)

    return list(await asyncio.gather(*(one(*each) for each in found))), cursor


async def _chosen(
    front: Front, chosen: Chosen
) -> tuple[Sequence[tuple[str, DeadLetter | None]], str | None]:
    dead = _dead(front)
    if chosen.ids is not None:
        ids = list(dict.fromkeys(chosen.ids))
        return list(zip(ids, await dead.read(ids), strict=True)), None
    page = await dead.page(model=chosen.model, limit=chosen.limit, cursor=chosen.cursor)
    return [(letter.job.id, letter) for letter in page.letters], page.next_cursor


def _result(
    identifier: str, status: str, *, job: str | None = None, error: HeadraceError | None = None
) -> Result:
    problem = None if error is None else error.problem()
    return {"id": identifier, "status": status, "job": job, "error": problem}
