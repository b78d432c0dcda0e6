"""Batches: up to 1000 inputs in one request, all or none."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api import headers
from api.auth import Caller
from api.dependencies import FrontDep, ReaderDep, SubmitterDep
from api.envelope import ParsedBatch
from api.lean_route import LeanRoute
from api.middleware import HEADERS, REQUEST_ID, TRACEPARENT
from api.problems import PayloadTooLarge
from api.responses import JsonBytes
from api.routes.submit import REPLAYED, fingerprint, json_body
from api.schemas import accepted_batch_bytes, batch_bytes
from jobs.cards import CardEntry
from jobs.errors import HeadraceError
from jobs.job import NewJob

router = APIRouter(route_class=LeanRoute)


@router.post("/v1/models/{model}/jobs/batch", status_code=202)
async def submit_batch(
    request: Request, model: str, front: FrontDep, caller: SubmitterDep
) -> Response:
    """Submit many jobs at once; one wrong input refuses all of them."""
    entry = await front.cards.find(model)
    body = await json_body(request, front)
    parsed = front.validator(entry).batch(body)
    key = headers.parse_idempotency_key(request.scope[HEADERS].get(b"idempotency-key"))
    new = _new_jobs(request, parsed, entry, caller)
    _check_repeated(parsed, front.settings.max_body_bytes)
    await front.webhooks.check.admit(new[0], entry, key)
    front.require_verified()
    shards = await front.queue.home(entry, caller.tenant, key)
    ticket = await front.admission.admit(new, key, shards)
    try:
        submitted = await front.queue.submit_batch(
            new,
            shards=shards,
            idempotency_key=key,
            fingerprint="" if key is None else fingerprint("batch", model, body),
        )
    except HeadraceError as error:
        front.admission.refused(ticket, error, entry.model)
        raise
    extra = [(b"location", b"/v1/batches/" + submitted.id.encode())]
    if submitted.replayed:
        front.admission.take_back(ticket)
        extra.append(REPLAYED)
    else:
        front.count_submitted(entry.model, new[0].priority, len(new))
    load = front.loads.known(entry.model)
    return JsonBytes(accepted_batch_bytes(submitted.id, submitted.jobs, load), 202, extra)


@router.get("/v1/batches/{batch_id}")
async def get_batch(batch_id: str, front: FrontDep, caller: ReaderDep) -> Response:
    """Return how many jobs of a batch are in which state."""
    return JsonBytes(batch_bytes(await front.queue.batch(batch_id, caller.tenant)))


def _check_repeated(parsed: ParsedBatch, limit: int) -> None:
    size = (len(parsed.metadata or b"") + len(parsed.webhook or b"")) * len(parsed.inputs)
    if size > limit:
        raise PayloadTooLarge(
            f"Each of the {len(parsed.inputs)} jobs keeps metadata and webhook: {size} bytes in "
            f"all, over the limit of {limit}. Send less of it, or a smaller batch."
        )


def _new_jobs(
    request: Request, parsed: ParsedBatch, entry: CardEntry, caller: Caller
) -> list[NewJob]:
    scope = request.scope
    return [
        NewJob(
            model=entry.model,
            version=entry.version,
            pinned="@" in scope["path_params"]["model"],
            tenant=caller.tenant,
            input=given,
            priority=parsed.priority,
            timeout_s=parsed.timeout_s or float(entry.card["limits"]["timeout_s"]),
            deadline_s=parsed.deadline_s,
            metadata=parsed.metadata,
            traceparent=scope[TRACEPARENT],
            request_id=scope[REQUEST_ID],
            webhook=parsed.webhook,
        )
        for given in parsed.inputs
    ]
