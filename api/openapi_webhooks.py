"""Webhooks in OpenAPI: what receivers are sent, and what callers may look up about it."""

from __future__ import annotations

from typing import Any

from api.openapi_schemas import (
    NUMBER,
    SCHEMAS,
    TEXT,
    TIME,
    Described,
    object_of,
    or_null,
    page_of,
    reference,
)
from jobs.webhook import EVENTS, DeliveryStatus

_SEQ = {
    "type": "integer",
    "description": "Rises with each event of one job, or of one batch: the larger one is newer.",
}
_NOT_SENT = ("input", "queue")


def _sent(schema: Described, *, without: tuple[str, ...] = ()) -> Described:
    members = {name: one for name, one in schema["properties"].items() if name not in without}
    return object_of({**members, "seq": _SEQ})


_SENT_JOB = _sent(SCHEMAS["Job"], without=_NOT_SENT)
_LINKS = {
    "type": "object",
    "properties": {
        **dict.fromkeys(("self", "cancel", "events"), TEXT),
        "output": {
            "type": "string",
            "description": "Where the output is: it is too long to be sent.",
        },
    },
    "required": ["self", "cancel"],
}
_SENT_JOB["properties"]["links"] = _LINKS

_TRY = object_of(
    {
        "at": TIME,
        "outcome": {
            "type": "string",
            "description": "`delivered`, or why not: `status_NNN`, `redirect`, `gone`, `timeout`, "
            "`dns`, `connect`, `tls`, `reset`, `protocol`, `forbidden`, `no_secret`.",
        },
        "status": or_null({"type": "integer"}),
        "seconds": NUMBER,
        "error": or_null(TEXT),
        "response": {**or_null(TEXT), "description": "The beginning of what was answered."},
        "next_at": or_null(TIME),
    }
)
_DELIVERY = object_of(
    {
        "id": {"type": "string", "pattern": "^wh_[0-9a-v]{29}$"},
        "type": {"type": "string", "enum": list(EVENTS)},
        "url": TEXT,
        "status": {"type": "string", "enum": [status.value for status in DeliveryStatus]},
        "created_at": TIME,
        "next_at": or_null(TIME),
        "tries": {"type": "array", "items": _TRY},
    }
)
_UNDELIVERED: Described = object_of(
    {
        **_DELIVERY["properties"],
        "tries": {
            "type": "array",
            "items": object_of(
                {name: one for name, one in _TRY["properties"].items() if name != "response"}
            ),
        },
        "tenant": TEXT,
        "job": or_null(TEXT),
        "batch": or_null(TEXT),
        "endpoint": TEXT,
    }
)
_ENDPOINT = object_of(
    {
        "id": TEXT,
        "tenant": TEXT,
        "url": TEXT,
        "status": {"type": "string", "enum": ["failing", "disabled"]},
        "reason": or_null(TEXT),
        "failing_since": or_null(TIME),
        "disabled_at": or_null(TIME),
    }
)
_SECRET = {"type": "string", "description": "Shown in this answer alone."}


def _list_of(schema: Described) -> Described:
    return object_of({"data": {"type": "array", "items": schema}})


DELIVERY_SCHEMAS: dict[str, Described] = {
    "Delivery": _DELIVERY,
    "DeliveryList": _list_of(reference("Delivery")),
    "Undelivered": _UNDELIVERED,
    "UndeliveredPage": page_of(reference("Undelivered")),
    "EndpointList": _list_of(_ENDPOINT),
    "WebhookSecretList": _list_of(
        object_of({"tenant": TEXT, "created_at": TIME, "previous_until": or_null(TIME)})
    ),
    "NewWebhookSecret": object_of({"tenant": TEXT, "secret": _SECRET}),
    "RotatedWebhookSecret": object_of({"tenant": TEXT, "secret": _SECRET, "overlap_s": NUMBER}),
    "SentJob": {**_SENT_JOB, "description": "A job as an event tells it: without its input."},
    "SentBatch": _sent(SCHEMAS["Batch"]),
}


def _header(name: str, description: str) -> Described:
    return {
        "name": name,
        "in": "header",
        "required": True,
        "description": description,
        "schema": {"type": "string"},
    }


#: Standard Webhooks 1.0.
HEADERS: dict[str, Described] = {
    "WebhookId": _header("webhook-id", "The id of the delivery, the same in every try of it."),
    "WebhookTimestamp": _header("webhook-timestamp", "Seconds since 1970 at this try."),
    "WebhookSignature": _header(
        "webhook-signature",
        "`v1,` and the base64 of HMAC-SHA256 over `{id}.{timestamp}.{body}`; several, parted by "
        "spaces, while a secret is being replaced.",
    ),
}


def events() -> dict[str, Any]:
    """Return what is sent for each type of event."""
    return {event: {"post": _event(event)} for event in EVENTS}


def _event(event: str) -> Described:
    kind = "SentBatch" if event.startswith("batch.") else "SentJob"
    body = object_of({"type": {"const": event}, "timestamp": TIME, "data": reference(kind)})
    return {
        "operationId": f"event.{event}",
        "summary": f"Sent for {event}",
        "parameters": [{"$ref": f"#/components/parameters/{name}"} for name in HEADERS],
        "requestBody": {"required": True, "content": {"application/json": {"schema": body}}},
        "responses": {
            "2XX": {"description": "It was received."},
            "410": {"description": "Nothing is to be sent to this URL any more."},
            "default": {"description": "It is sent again later."},
        },
        # It is signed; no key of this API is sent.
        "security": [],
    }
