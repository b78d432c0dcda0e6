"""/v1/admin/keys: make, list and revoke keys."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request
from starlette.responses import Response

from api.body import parsed
from api.dependencies import AdministratorDep, FrontDep
from api.lean_route import LeanRoute
from api.problems import NotFound
from api.responses import JsonBytes, no_content
from api.routes.submit import json_body
from jobs.keystore import DEFAULT_TENANT, KeyRecord, Role
from jobs.view import timestamp
from telemetry import logs

router = APIRouter(route_class=LeanRoute)
log = logs.get(__name__)


class NewKey(BaseModel):
    """What a new key is for."""

    model_config = ConfigDict(extra="forbid", strict=True)

    tenant: str = Field(DEFAULT_TENANT, pattern=r"^[a-z0-9][a-z0-9._-]{0,62}$")
    role: Role = Role.SUBMIT
    name: str = Field("", max_length=200)


_BODY = {
    "required": True,
    "content": {"application/json": {"schema": NewKey.model_json_schema()}},
}


@router.post("/v1/admin/keys", status_code=201, openapi_extra={"requestBody": _BODY})
async def create_key(request: Request, front: FrontDep, caller: AdministratorDep) -> Response:
    """Make a key; the answer is the only place where its text is ever shown."""
    wanted = parsed(NewKey, await json_body(request, front))
    text, record = await front.keys.create(tenant=wanted.tenant, role=wanted.role, name=wanted.name)
    await front.ring.refresh()
    log.info("key_created", key=record.id, tenant=record.tenant, role=record.role, by=caller.key_id)
    return JsonBytes(orjson.dumps({"key": text, **_shown(record)}), 201)


@router.get("/v1/admin/keys")
async def list_keys(front: FrontDep, caller: AdministratorDep) -> Response:
    """List all keys without their secrets, revoked ones too."""
    records = await front.keys.records()
    return JsonBytes(orjson.dumps({"data": [_shown(record) for record in records]}))


@router.delete("/v1/admin/keys/{key_id}", status_code=204)
async def revoke_key(key_id: str, front: FrontDep, caller: AdministratorDep) -> Response:
    """Revoke a key for ever; every API process refuses it within seconds."""
    record = await front.keys.revoke(key_id)
    if record is None:
        raise NotFound(f"There is no key {key_id}.")
    await front.ring.refresh()
    log.info("key_revoked", key=record.id, tenant=record.tenant, by=caller.key_id)
    return no_content()


def _shown(record: KeyRecord) -> dict[str, Any]:
    return {
        "id": record.id,
        "tenant": record.tenant,
        "role": record.role,
        "name": record.name,
        "created_at": timestamp(record.created_at),
        "revoked_at": timestamp(record.revoked_at),
    }
