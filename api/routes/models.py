"""/v1/models: the cards, how each model does, and the one figure that autoscalers need."""

from __future__ import annotations

from typing import Any

import orjson
from fastapi import APIRouter
from starlette.responses import Response

from api.dependencies import FrontDep, ReaderDep
from api.front import Front
from api.lean_route import LeanRoute
from api.load import wanted_workers
from api.responses import JsonBytes
from jobs.cards import CardEntry
from jobs.overview import ModelOverview, WorkerInfo
from jobs.view import timestamp

router = APIRouter(route_class=LeanRoute)

#: What a card says of itself, as it was published.
_PUBLISHED = (
    *("description", "input_schema", "output_schema", "limits", "example"),
    *("requirements", "published_at"),
)
#: A worker's state -> the model's; the first that some worker has is the model's.
_STATES = {"ready": "ready", "loading": "loading", "unready": "loading", "failed": "failed"}
_COLD = "No worker serves this model now. Jobs are accepted, and run when one comes."


@router.get("/v1/models")
async def list_models(front: FrontDep, caller: ReaderDep) -> Response:
    """List the production card of every model."""
    cards = [await _card(front, front.cards.get(model)) for model in front.cards.models()]
    return JsonBytes(orjson.dumps({"data": cards}))


@router.get("/v1/models/{model}")
async def get_model(model: str, front: FrontDep, caller: ReaderDep) -> Response:
    """Return a model's card, or with `name@version` that version's."""
    return JsonBytes(orjson.dumps(await _card(front, await front.cards.find(model))))


@router.get("/v1/models/{model}/scale")
async def get_scale(model: str, front: FrontDep, caller: ReaderDep) -> Response:
    """Return what an autoscaler needs to choose the number of workers.

    Of `name@version` what is pinned to this version. Else all of the model, without what is pinned
    to another version than the one in production: that needs workers of its own.
    """
    entry = await front.cards.find(model)
    load = await front.loads.now(entry.model)
    load = load.for_version(entry.version) if "@" in model else load.for_production()
    figures = {
        "queued": load.queued,
        "running": load.running,
        "workers_ready": load.ready,
        "backlog_seconds": round(load.backlog_seconds, 3),
        "wanted": wanted_workers(load),
    }
    return JsonBytes(orjson.dumps(figures))


async def _card(front: Front, entry: CardEntry) -> dict[str, Any]:
    load = await front.loads.now(entry.model)
    serving = [worker for worker in load.workers if worker.version == entry.version]
    state, reason = model_state(serving)
    return {
        "name": entry.model,
        "version": entry.version,
        "versions": sorted(known.version for known in front.cards.versions(entry.model)),
        "state": state,
        "reason": reason,
        **{member: entry.card.get(member) for member in _PUBLISHED},
        "workers": [_worker(worker) for worker in load.workers],
        "queue": _queue(load),
    }


def model_state(workers: list[WorkerInfo]) -> tuple[str, str]:
    """Return `ready`, `loading`, `failed` or `cold`, and why."""
    for state, shown in _STATES.items():
        for worker in workers:
            if worker.state == state:
                return shown, worker.reason
    return "cold", _COLD


def _worker(worker: WorkerInfo) -> dict[str, Any]:
    return {
        "name": worker.name,
        "version": worker.version,
        "state": worker.state,
        "reason": worker.reason,
        "device": worker.device,
        "beat_at": timestamp(worker.beat_at),
    }


def _queue(load: ModelOverview) -> dict[str, Any]:
    return {
        "queued": load.queued,
        "running": load.running,
        "backlog_seconds": round(load.backlog_seconds, 3),
        "oldest_s": round(load.oldest_s, 3),
    }
