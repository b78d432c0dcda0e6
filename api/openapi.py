"""The OpenAPI document: the routes as FastAPI sees them, and every model with its own types."""

from __future__ import annotations

import copy
from collections.abc import Mapping, Sequence
from typing import Any, Protocol

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from api import envelope
from api.openapi_models import model_components
from api.openapi_schemas import SCHEMAS, Described, reference
from api.openapi_webhooks import DELIVERY_SCHEMAS, HEADERS, events

_SUBMIT = "/v1/models/{model}/jobs"
_BATCH = f"{_SUBMIT}/batch"
_RETRY = "/v1/jobs/{job_id}/retry"
_RETRY_DEAD = "/v1/admin/dead/{job_id}/retry"
_REPLAY = "/v1/jobs/{job_id}/webhooks/{webhook_id}/replay"
_REPLAY_OF_BATCH = "/v1/batches/{batch_id}/webhooks/{webhook_id}/replay"
_REPLAY_DEAD = "/v1/admin/dead/webhooks/{webhook_id}/replay"

#: path, method -> status and component of the answer
_ANSWERS: dict[tuple[str, str], tuple[str, str]] = {
    (_SUBMIT, "post"): ("202", "Job"),
    (_BATCH, "post"): ("202", "AcceptedBatch"),
    ("/v1/batches/{batch_id}", "get"): ("200", "Batch"),
    ("/v1/jobs", "get"): ("200", "JobPage"),
    ("/v1/jobs/{job_id}", "get"): ("200", "Job"),
    ("/v1/jobs/{job_id}/cancel", "post"): ("200", "Job"),
    (_RETRY, "post"): ("202", "Job"),
    ("/v1/admin/dead", "get"): ("200", "DeadPage"),
    ("/v1/admin/dead/{job_id}", "get"): ("200", "DeadLetter"),
    (_RETRY_DEAD, "post"): ("202", "DeadRetried"),
    ("/v1/admin/dead/retry", "post"): ("200", "DeadResults"),
    ("/v1/admin/dead/purge", "post"): ("200", "DeadResults"),
    ("/v1/jobs/{job_id}/webhooks", "get"): ("200", "DeliveryList"),
    ("/v1/batches/{batch_id}/webhooks", "get"): ("200", "DeliveryList"),
    (_REPLAY, "post"): ("202", "Delivery"),
    (_REPLAY_OF_BATCH, "post"): ("202", "Delivery"),
    ("/v1/admin/webhook-secrets", "get"): ("200", "WebhookSecretList"),
    ("/v1/admin/webhook-secrets", "post"): ("201", "NewWebhookSecret"),
    ("/v1/admin/webhook-secrets/{tenant}/rotate", "post"): ("200", "RotatedWebhookSecret"),
    ("/v1/admin/webhook-endpoints", "get"): ("200", "EndpointList"),
    ("/v1/admin/dead/webhooks", "get"): ("200", "UndeliveredPage"),
    (_REPLAY_DEAD, "post"): ("202", "Undelivered"),
    ("/v1/models", "get"): ("200", "ModelList"),
    ("/v1/models/{model}", "get"): ("200", "Model"),
    ("/v1/models/{model}/scale", "get"): ("200", "Scale"),
}
_OPEN = ("/healthz", "/livez")
_PREFER = ((_SUBMIT, "post"), ("/v1/jobs/{job_id}", "get"))
_LOCATED = ((_SUBMIT, "post"), (_BATCH, "post"), (_RETRY, "post"), (_RETRY_DEAD, "post"))
_IDEMPOTENT = (
    *_LOCATED,
    *((_REPLAY, "post"), (_REPLAY_OF_BATCH, "post"), (_REPLAY_DEAD, "post")),
)

_PARAMETERS = {
    "Prefer": {
        "name": "Prefer",
        "in": "header",
        "description": "`wait` or `wait=N`: hold the answer until the job is final, N seconds "
        "at most.",
        "schema": {"type": "string"},
        "example": "wait=30",
    },
    "IdempotencyKey": {
        "name": "Idempotency-Key",
        "in": "header",
        "description": "The same request with the same key gets the same job.",
        "schema": {"type": "string", "minLength": 1, "maxLength": 255},
    },
}
_PROBLEM = {
    "description": "What was wrong, as RFC 9457 has it.",
    "content": {"application/problem+json": {"schema": reference("Problem")}},
}
_LOCATION = {"Location": {"description": "Where the result is.", "schema": {"type": "string"}}}
_BEARER = {"type": "http", "scheme": "bearer", "description": "`hr_<id>_<secret>`"}


class Published(Protocol):
    """A model's card and its name."""

    @property
    def model(self) -> str:
        """The model's name."""
        ...

    @property
    def card(self) -> dict[str, Any]:
        """The card as its worker published it."""
        ...


def build(app: FastAPI, cards: Sequence[Published]) -> Described:
    """Return the document of an application that serves these models."""
    document = get_openapi(
        title=app.title,
        version=app.version,
        summary="Durable jobs for models on a GPU.",
        routes=app.routes,
    )
    parts = document.setdefault("components", {})
    schemas = parts.setdefault("schemas", {})
    for unused in ("HTTPValidationError", "ValidationError"):
        schemas.pop(unused, None)
    schemas.update(copy.deepcopy({**SCHEMAS, **DELIVERY_SCHEMAS}))
    parts["parameters"] = {**_PARAMETERS, **HEADERS}
    document["webhooks"] = events()
    parts["responses"] = {"Problem": _PROBLEM}
    parts["securitySchemes"] = {"key": _BEARER}
    paths = document["paths"]
    for path, methods in paths.items():
        for method, operation in methods.items():
            _complete(path, method, operation)
    for published in cards:
        _add_model(document, published.model, published.card)
    return document


def _complete(path: str, method: str, operation: Described) -> None:
    """Say of a route what its plain Response does not tell FastAPI."""
    place = (path, method)
    responses = operation["responses"]
    responses.pop("422", None)
    if place in _ANSWERS:
        status, component = _ANSWERS[place]
        responses.clear()
        responses[status] = _answer(component)
    if place == (_SUBMIT, "post"):
        operation["requestBody"] = _body(envelope.as_json_schema("input", {}))
        responses["200"] = _answer("Job", "The finished job, when `Prefer: wait` was given.")
    if place == (_BATCH, "post"):
        inputs = envelope.list_schema({})
        operation["requestBody"] = _body(envelope.as_json_schema("inputs", inputs))
    if place in _LOCATED:
        responses["202"]["headers"] = _LOCATION
    for name, places in (("Prefer", _PREFER), ("IdempotencyKey", _IDEMPOTENT)):
        if place in places:
            parameter = {"$ref": f"#/components/parameters/{name}"}
            operation.setdefault("parameters", []).append(parameter)
    responses |= {"4XX": _problem(), "5XX": _problem()}
    # Without any key an API on loopback is open; it then takes requests that name none.
    operation["security"] = [] if path in _OPEN else [{"key": []}, {}]


def _add_model(document: Described, model: str, card: Mapping[str, Any]) -> None:
    """Add a model's schemas, and its two submits under its own name."""
    document["components"]["schemas"].update(model_components(model, card))
    paths, example = document["paths"], card.get("example")
    for path, kind, field in ((_SUBMIT, "Submit", "input"), (_BATCH, "BatchSubmit", "inputs")):
        if path not in paths:
            continue
        operation = copy.deepcopy(paths[path]["post"])
        operation["operationId"] = f"{operation['operationId']}.{model}"
        operation["summary"] = f"{operation['summary']} to {model}"
        operation["tags"] = [model]
        if card.get("description"):
            operation["description"] = card["description"]
        operation["parameters"] = [
            one for one in operation["parameters"] if one.get("in") != "path"
        ]
        given = None if example is None else {field: example if field == "input" else [example]}
        operation["requestBody"] = _body(reference(f"{model}.{kind}"), given)
        for status in ("200", "202"):
            if status in operation["responses"]:
                answer = f"{model}.Job" if field == "input" else f"{model}.AcceptedBatch"
                content = operation["responses"][status]["content"]
                content["application/json"]["schema"] = reference(answer)
        paths[path.replace("{model}", model)] = {"post": operation}


def _answer(component: str, description: str = "Done.") -> Described:
    content = {"application/json": {"schema": reference(component)}}
    return {"description": description, "content": content}


def _body(schema: Described, example: Any = None) -> Described:
    content: Described = {"schema": schema}
    if example is not None:
        content["example"] = example
    return {"required": True, "content": {"application/json": content}}


def _problem() -> Described:
    return {"$ref": "#/components/responses/Problem"}
