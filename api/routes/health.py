"""/healthz and /livez: open to everybody, and true."""

from __future__ import annotations

import asyncio
from typing import Annotated

import orjson
from fastapi import APIRouter, Query
from pydantic import BaseModel, Field
from starlette.responses import Response

from api.dependencies import FrontDep
from api.front import Front
from api.lean_route import LeanRoute
from api.problems import Draining, NotReady
from api.responses import JsonBytes
from jobs.errors import ModelNotFound, QueueFull, QueueUnavailable, VersionNotFound

router = APIRouter(route_class=LeanRoute)

#: Redis gets this long for its answer; a prober's own patience is often no longer.
_ANSWER_S = 2.0


class Asked(BaseModel):
    """The query of a probe."""

    model: str | None = Field(None, description="Healthy only while it has a ready worker.")


@router.get("/livez")
@router.head("/livez", include_in_schema=False)
async def livez(front: FrontDep) -> Response:
    """Say whether this process answers and means to go on."""
    if front.draining:
        raise Draining("This process is stopping.")
    if broken := [*front.broken, *front.queue.broken]:
        raise NotReady(f"Background tasks have died: {', '.join(broken)}.")
    return JsonBytes(b'{"status":"ok"}')


@router.get("/healthz")
@router.head("/healthz", include_in_schema=False)
async def healthz(front: FrontDep, query: Annotated[Asked, Query()]) -> Response:
    """Say whether jobs are accepted durably, and whether the models asked for can run."""
    if front.draining:
        raise Draining("This process is stopping.")
    await _require_queue(front)
    models = [*front.settings.require_models, *([query.model] if query.model else [])]
    ready = {model: await _ready_workers(front, model) for model in dict.fromkeys(models)}
    idle = [model for model, count in ready.items() if count == 0]
    if idle:
        raise NotReady(f"No ready worker for: {', '.join(idle)}.")
    return JsonBytes(orjson.dumps({"status": "ok", "ready_workers": ready}))


async def _require_queue(front: Front) -> None:
    if not front.verified:
        raise QueueUnavailable(front.unverified)
    try:
        async with asyncio.timeout(_ANSWER_S):
            await front.connections.check()
    except TimeoutError as error:
        raise QueueUnavailable("Redis does not answer.", retry_after_s=2) from error
    if short := front.admission.no_room():
        raise QueueFull(short)


async def _ready_workers(front: Front, name: str) -> int:
    try:
        entry = await front.cards.find(name)
    except (ModelNotFound, VersionNotFound):
        return 0
    load = await front.loads.now(entry.model)
    if "@" not in name:
        return load.ready
    return sum(
        worker.state == "ready" and worker.version == entry.version for worker in load.workers
    )
