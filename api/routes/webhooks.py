"""What became of a job's or a batch's webhook: its deliveries with their tries; send one again."""

from __future__ import annotations

import orjson
from fastapi import APIRouter
from starlette.requests import Request
from starlette.responses import Response

from api import headers
from api.auth import Caller
from api.dependencies import FrontDep, ReaderDep, SubmitterDep
from api.front import Front
from api.lean_route import LeanRoute
from api.middleware import HEADERS
from api.responses import JsonBytes
from api.webhook_schemas import delivery_object
from jobs.errors import NoSuchBatch, NoSuchJob
from jobs.ids import shard_of
from jobs.webhook import DeliveryRecord
from telemetry import logs

router = APIRouter(route_class=LeanRoute)
log = logs.get(__name__)


@router.get("/v1/jobs/{job_id}/webhooks")
async def list_job_webhooks(job_id: str, front: FrontDep, caller: ReaderDep) -> Response:
    """List the deliveries of a job, oldest first, each with its tries; they outlive the job."""
    _require_job(job_id)
    found = await front.webhooks.log.of(job_id, caller.tenant)
    if not found:
        await front.queue.get(job_id, caller.tenant)
    return _listed(found)


@router.get("/v1/batches/{batch_id}/webhooks")
async def list_batch_webhooks(batch_id: str, front: FrontDep, caller: ReaderDep) -> Response:
    """List the deliveries of a batch's own event; those of its jobs are with each job."""
    _require_batch(batch_id)
    found = await front.webhooks.log.of(batch_id, caller.tenant)
    if not found:
        await front.queue.batch(batch_id, caller.tenant)
    return _listed(found)


@router.post("/v1/jobs/{job_id}/webhooks/{webhook_id}/replay", status_code=202)
async def replay_job_webhook(
    request: Request, job_id: str, webhook_id: str, front: FrontDep, caller: SubmitterDep
) -> Response:
    """Send a delivery of a job again, whatever became of it: the same id, the same body."""
    _require_job(job_id)
    return await _replayed(request, job_id, webhook_id, front, caller)


@router.post("/v1/batches/{batch_id}/webhooks/{webhook_id}/replay", status_code=202)
async def replay_batch_webhook(
    request: Request, batch_id: str, webhook_id: str, front: FrontDep, caller: SubmitterDep
) -> Response:
    """Send a delivery of a batch again, whatever became of it: the same id, the same body."""
    _require_batch(batch_id)
    return await _replayed(request, batch_id, webhook_id, front, caller)


async def _replayed(
    request: Request, owner: str, webhook_id: str, front: Front, caller: Caller
) -> Response:
    # Of the key only the form matters: a delivery that is due already is replayed by nothing more.
    headers.parse_idempotency_key(request.scope[HEADERS].get(b"idempotency-key"))
    record = await front.webhooks.log.replay(owner, webhook_id, caller.tenant)
    log.info("webhook_replayed", by=caller.key_id, webhook=webhook_id, of=owner)
    return JsonBytes(orjson.dumps(delivery_object(record)), 202)


def _listed(found: list[DeliveryRecord]) -> Response:
    return JsonBytes(orjson.dumps({"data": [delivery_object(record) for record in found]}))


def _require_job(identifier: str) -> None:
    # The log knows deliveries by the id of what they tell of, be it a job or a batch.
    if shard_of(identifier) is None:
        raise NoSuchJob(f"There is no job {identifier}.", job_id=identifier)


def _require_batch(identifier: str) -> None:
    if shard_of(identifier, "bat") is None:
        raise NoSuchBatch(f"There is no batch {identifier}.")
