"""/openapi.json and /docs."""

from __future__ import annotations

import orjson
from fastapi import APIRouter
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.requests import Request
from starlette.responses import Response

from api import openapi
from api.dependencies import FrontDep, admit
from api.front import Front
from api.lean_route import LeanRoute
from api.problems import NotFound
from api.responses import JsonBytes
from jobs.keystore import Role

router = APIRouter(route_class=LeanRoute, include_in_schema=False)


@router.get("/openapi.json")
async def get_openapi(request: Request, front: FrontDep) -> Response:
    """Return the schema of this API with the bodies of every model it knows now."""
    _require_reader(request, front)
    revision = front.cards.revision
    if front.document is None or front.document[0] != revision:
        cards = [front.cards.get(model) for model in front.cards.models()]
        front.document = (revision, orjson.dumps(openapi.build(request.app, cards)))
    return JsonBytes(front.document[1])


@router.get("/docs")
async def get_docs(request: Request, front: FrontDep) -> Response:
    """Return the page that shows the schema."""
    _require_reader(request, front)
    return get_swagger_ui_html(openapi_url="/openapi.json", title="Headrace")


def _require_reader(request: Request, front: Front) -> None:
    if front.settings.docs == "off":
        raise NotFound(f"There is nothing at {request.scope['path']}.")
    if front.settings.docs == "auto":
        admit(request, Role.READ)
