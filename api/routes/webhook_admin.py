"""/v1/admin: secrets that sign webhooks, endpoints that fail, and what could not be delivered."""

from __future__ import annotations

from typing import Annotated

import orjson
from fastapi import APIRouter, Query
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from api import headers
from api.body import parsed
from api.dependencies import AdministratorDep, FrontDep
from api.lean_route import LeanRoute
from api.middleware import HEADERS
from api.problems import NotFound
from api.responses import JsonBytes, no_content
from api.routes.submit import json_body
from api.webhook_schemas import endpoint_object, secret_object, undelivered_object
from jobs.keystore import DEFAULT_TENANT
from telemetry import logs

router = APIRouter(route_class=LeanRoute)
log = logs.get(__name__)

MAX_PAGE = 200
_DAY_S = 86_400.0
_LONGEST_OVERLAP_S = 30 * _DAY_S


class NewSecret(BaseModel):
    """Whose secret is made."""

    model_config = ConfigDict(extra="forbid", strict=True)

    tenant: str = Field(DEFAULT_TENANT, pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")


class Rotation(BaseModel):
    """How a secret is replaced."""

    model_config = ConfigDict(extra="forbid", strict=True)

    overlap_s: float = Field(
        _DAY_S,
        ge=0,
        le=_LONGEST_OVERLAP_S,
        allow_inf_nan=False,
        description="Seconds in which the secret before signs beside the new one.",
    )


class EndpointFilters(BaseModel):
    """The query of a list of endpoints."""

    tenant: str | None = Field(None, description="Only those of this tenant.")


class UndeliveredFilters(BaseModel):
    """The query of a list of deliveries."""

    limit: int = Field(50, ge=1, le=MAX_PAGE)
    cursor: str | None = Field(None, description="`next_cursor` of the page before.")


def _body(kind: type[BaseModel]) -> dict[str, object]:
    content = {"application/json": {"schema": kind.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}


@router.get("/v1/admin/webhook-secrets")
async def list_secrets(front: FrontDep, caller: AdministratorDep) -> Response:
    """List the tenants that have a secret, without the secrets."""
    found = await front.webhooks.secrets.status()
    return JsonBytes(orjson.dumps({"data": [secret_object(each) for each in found]}))


@router.post("/v1/admin/webhook-secrets", status_code=201, openapi_extra=_body(NewSecret))
async def create_secret(request: Request, front: FrontDep, caller: AdministratorDep) -> Response:
    """Make a tenant's first secret; the answer is the only place where it is ever shown."""
    wanted = parsed(NewSecret, await json_body(request, front))
    secret = await front.webhooks.secrets.create(wanted.tenant)
    log.info("webhook_secret_created", by=caller.key_id, tenant=wanted.tenant)
    return JsonBytes(orjson.dumps({"tenant": wanted.tenant, "secret": secret}), 201)


@router.post("/v1/admin/webhook-secrets/{tenant}/rotate", openapi_extra=_body(Rotation))
async def rotate_secret(
    request: Request, tenant: str, front: FrontDep, caller: AdministratorDep
) -> Response:
    """Make a new secret, shown this once; the one before signs beside it for a while."""
    wanted = parsed(Rotation, await json_body(request, front))
    secret = await front.webhooks.secrets.rotate(tenant, wanted.overlap_s)
    log.info("webhook_secret_rotated", by=caller.key_id, tenant=tenant, overlap_s=wanted.overlap_s)
    shown = {"tenant": tenant, "secret": secret, "overlap_s": wanted.overlap_s}
    return JsonBytes(orjson.dumps(shown))


@router.delete("/v1/admin/webhook-secrets/{tenant}", status_code=204)
async def remove_secret(tenant: str, front: FrontDep, caller: AdministratorDep) -> Response:
    """Forget a tenant's secrets: nothing is signed with them any more."""
    if not await front.webhooks.secrets.remove(tenant):
        raise NotFound(f"The tenant {tenant!r} has no webhook secret.")
    front.webhooks.check.forget(tenant)
    log.info("webhook_secret_removed", by=caller.key_id, tenant=tenant)
    return no_content()


@router.get("/v1/admin/webhook-endpoints")
async def list_endpoints(
    front: FrontDep, caller: AdministratorDep, query: Annotated[EndpointFilters, Query()]
) -> Response:
    """List the endpoints that fail or are disabled."""
    found = await front.webhooks.log.endpoints(tenant=query.tenant)
    return JsonBytes(orjson.dumps({"data": [endpoint_object(each) for each in found]}))


@router.post("/v1/admin/webhook-endpoints/{endpoint_id}/enable", status_code=204)
async def enable_endpoint(endpoint_id: str, front: FrontDep, caller: AdministratorDep) -> Response:
    """Send to a disabled endpoint again; what was held back meanwhile waits for a replay."""
    if not await front.webhooks.log.enable(endpoint_id):
        raise NotFound(f"There is no disabled endpoint {endpoint_id}.")
    log.info("webhook_endpoint_enabled", by=caller.key_id, endpoint=endpoint_id)
    return no_content()


@router.get("/v1/admin/dead/webhooks")
async def list_undelivered(
    front: FrontDep, caller: AdministratorDep, query: Annotated[UndeliveredFilters, Query()]
) -> Response:
    """List deliveries of all tenants that failed for good, the last to end first."""
    page = await front.webhooks.log.undelivered(limit=query.limit, cursor=query.cursor)
    data = [undelivered_object(record) for record in page.records]
    return JsonBytes(orjson.dumps({"data": data, "next_cursor": page.next_cursor}))


@router.post("/v1/admin/dead/webhooks/{webhook_id}/replay", status_code=202)
async def replay_undelivered(
    request: Request, webhook_id: str, front: FrontDep, caller: AdministratorDep
) -> Response:
    """Send a delivery of any tenant again."""
    headers.parse_idempotency_key(request.scope[HEADERS].get(b"idempotency-key"))
    known = await front.webhooks.log.get(webhook_id)
    record = await front.webhooks.log.replay(known.owner, webhook_id, known.tenant)
    log.info("webhook_replayed", by=caller.key_id, webhook=webhook_id, of=known.owner)
    return JsonBytes(orjson.dumps(undelivered_object(record)), 202)


@router.delete("/v1/admin/dead/webhooks/{webhook_id}", status_code=204)
async def purge_undelivered(webhook_id: str, front: FrontDep, caller: AdministratorDep) -> Response:
    """Erase a delivery that is not under way, with its tries."""
    await front.webhooks.log.purge(webhook_id)
    log.info("webhook_purged", by=caller.key_id, webhook=webhook_id)
    return no_content()
