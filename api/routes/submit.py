"""POST /v1/models/{model}/jobs: one job in, durable before the answer."""

from __future__ import annotations

import hashlib
import json

from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api import headers
from api.auth import Caller
from api.body import read_body
from api.dependencies import FrontDep, SubmitterDep
from api.envelope import ParsedSubmit
from api.front import Front
from api.headers import NO_PREFERENCE, Preference
from api.lean_route import LeanRoute
from api.middleware import HEADERS, REQUEST_ID, TRACEPARENT
from api.responses import Header, JsonBytes
from api.schemas import job_bytes, retry_after
from jobs.cards import CardEntry
from jobs.errors import HeadraceError
from jobs.job import NewJob, Submitted

router = APIRouter(route_class=LeanRoute)

VARY_PREFER: Header = (b"vary", b"Prefer")
REPLAYED: Header = (b"idempotent-replayed", b"true")


@router.post("/v1/models/{model}/jobs", status_code=202)
async def submit(request: Request, model: str, front: FrontDep, caller: SubmitterDep) -> Response:
    """Submit a job; with `Prefer: wait` hold until it ends or the time is over."""
    entry = await front.cards.find(model)
    body = await json_body(request, front)
    parsed = front.validator(entry).submit(body)
    new = _new_job(request, parsed, body, entry, caller)
    await front.webhooks.check.admit(new, entry, new.idempotency_key)
    preference = preference_of(request, front)
    submitted = await enter(front, new, entry, preference.wait_s)
    return _answer(front, submitted, preference)


async def json_body(request: Request, front: Front) -> bytes:
    """Return the body of a request that must be JSON."""
    given = request.scope[HEADERS]
    headers.require_json(given.get(b"content-type"), given.get(b"content-encoding"))
    limit = front.settings.max_body_bytes
    return await read_body(request.receive, given.get(b"content-length"), limit)


def preference_of(request: Request, front: Front) -> Preference:
    """Return what the request prefers."""
    if b"prefer" not in request.scope[HEADERS]:
        return NO_PREFERENCE
    values = [value for name, value in request.scope["headers"] if name == b"prefer"]
    return headers.parse_prefer(values, front.settings.max_wait_s)


def fingerprint(kind: str, target: str, body: bytes) -> str:
    """Return what two requests with one Idempotency-Key must share; JSON layout is no part."""
    canonical = json.dumps(json.loads(body), sort_keys=True, separators=(",", ":"))
    text = f"{kind}\0{target}\0{canonical}".encode("utf-8", "surrogatepass")
    return hashlib.blake2b(text, digest_size=16).hexdigest()


def _new_job(
    request: Request, parsed: ParsedSubmit, body: bytes, entry: CardEntry, caller: Caller
) -> NewJob:
    scope = request.scope
    key = headers.parse_idempotency_key(scope[HEADERS].get(b"idempotency-key"))
    target = scope["path_params"]["model"]
    return NewJob(
        model=entry.model,
        version=entry.version,
        pinned="@" in target,
        tenant=caller.tenant,
        input=parsed.input,
        priority=parsed.priority,
        timeout_s=parsed.timeout_s or float(entry.card["limits"]["timeout_s"]),
        deadline_s=parsed.deadline_s,
        metadata=parsed.metadata,
        idempotency_key=key,
        fingerprint="" if key is None else fingerprint("submit", target, body),
        traceparent=scope[TRACEPARENT],
        request_id=scope[REQUEST_ID],
        webhook=parsed.webhook,
    )


async def enter(front: Front, new: NewJob, entry: CardEntry, wait_s: float) -> Submitted:
    """Let a job in and store it, or say why not; count it when it is a new one."""
    front.require_verified()
    shards = await front.queue.home(entry, new.tenant, new.idempotency_key)
    ticket = await front.admission.admit([new], new.idempotency_key, shards)
    try:
        if wait_s > 0:
            submitted = await front.queue.submit_and_wait(new, shards=shards, timeout_s=wait_s)
        else:
            submitted = await front.queue.submit(new, shards=shards)
    except HeadraceError as error:
        front.admission.refused(ticket, error, new.model)
        raise
    if submitted.replayed:
        front.admission.take_back(ticket)
    else:
        front.count_submitted(new.model, new.priority)
    return submitted


def _answer(front: Front, submitted: Submitted, preference: Preference) -> JsonBytes:
    job = submitted.job
    extra = [VARY_PREFER]
    if submitted.replayed:
        extra.append(REPLAYED)
    if preference.applied:
        extra.append((b"preference-applied", preference.applied.encode()))
    load = front.loads.known(job.model)
    extra.append((b"location", b"/v1/jobs/" + job.id.encode()))
    done = job.final and preference.wait_s > 0
    if not done and preference.wait_s:
        extra.append((b"retry-after", b"%d" % retry_after(job, load)))
    return JsonBytes(job_bytes(job, load), 200 if done else 202, extra)
