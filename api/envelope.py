"""What surrounds the input in a submit: its options, their limits, and their bytes."""

from __future__ import annotations

from typing import Annotated, Any

import msgspec
from pydantic import HttpUrl, TypeAdapter, UrlConstraints
from pydantic_core import CoreSchema, PydanticCustomError, core_schema

from jobs.states import Priority
from jobs.webhook import EVENTS, FINAL_EVENTS
from jobs.webhook_secrets import key_of

#: The most inputs in one batch.
MAX_INPUTS = 1000
#: Bytes of JSON.
MAX_METADATA = 16 * 1024
#: Ten years: what is longer would not fit the milliseconds of a record.
MAX_SECONDS = 315_360_000.0

#: Characters of the URL that a webhook is sent to.
MAX_URL = 2048

_WEBHOOK: dict[str, Any] = {
    "type": "object",
    "description": "Where events are sent, signed as Standard Webhooks 1.0 has it.",
    "properties": {
        "url": {"type": "string", "format": "uri", "maxLength": MAX_URL},
        "events": {
            "type": "array",
            "items": {"enum": list(EVENTS)},
            "minItems": 1,
            "default": list(FINAL_EVENTS),
        },
        "secret": {
            "type": "string",
            "writeOnly": True,
            "minLength": 16,
            "description": "Signs these events instead of the tenant's secret: `whsec_` and the "
            "base64 of 24 to 64 bytes, or any other 16 to 256 characters.",
        },
    },
    "required": ["url"],
    "additionalProperties": False,
}


class ParsedSubmit(msgspec.Struct, frozen=True, gc=False):
    """A submit that fits its model; bytes are as the client wrote them, None is not given."""

    input: bytes
    priority: Priority
    deadline_s: float | None
    timeout_s: float | None
    webhook: bytes | None
    metadata: bytes | None


class ParsedBatch(msgspec.Struct, frozen=True, gc=False):
    """A batch of inputs that all fit their model, and the options they share."""

    inputs: list[bytes]
    priority: Priority
    deadline_s: float | None
    timeout_s: float | None
    webhook: bytes | None
    metadata: bytes | None


class RawOptions(msgspec.Struct):
    """The options with their bytes untouched."""

    priority: Priority | None = None
    deadline_s: float | None = None
    timeout_s: float | None = None
    webhook: msgspec.Raw = msgspec.Raw(b"null")
    metadata: msgspec.Raw = msgspec.Raw(b"null")


class RawSubmit(RawOptions, kw_only=True):
    """A submit with the bytes of its input untouched."""

    input: msgspec.Raw


class RawBatch(RawOptions, kw_only=True):
    """A batch with the bytes of its inputs untouched."""

    inputs: list[msgspec.Raw]


class RawWebhook(msgspec.Struct):
    """The webhook of a submit as it was given."""

    url: str
    events: list[str] | None = None
    secret: str | None = None


_webhook_decoder = msgspec.json.Decoder(RawWebhook)


def around(field: str, inputs: CoreSchema) -> CoreSchema:
    """Return the schema of a body with `inputs` at `field` and the options beside it."""
    seconds = core_schema.float_schema(gt=0, le=MAX_SECONDS, allow_inf_nan=False, strict=True)
    options: dict[str, CoreSchema] = {
        "priority": core_schema.literal_schema([priority.value for priority in Priority]),
        "deadline_s": seconds,
        "timeout_s": seconds,
        "webhook": _webhook(),
        "metadata": core_schema.dict_schema(core_schema.str_schema()),
    }
    fields = {field: core_schema.typed_dict_field(inputs)}
    for name, schema in options.items():
        fields[name] = _optional(core_schema.nullable_schema(schema))
    return core_schema.typed_dict_schema(fields, extra_behavior="forbid")


def list_of(inputs: CoreSchema) -> CoreSchema:
    """Return the schema of a batch's inputs."""
    return core_schema.list_schema(inputs, min_length=1, max_length=MAX_INPUTS)


def list_schema(inputs: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of a batch's inputs."""
    return {"type": "array", "items": inputs, "minItems": 1, "maxItems": MAX_INPUTS}


def kept_webhook(given: bytes) -> bytes:
    """Return a webhook that fits the schema as it is kept with its job: its events resolved."""
    raw = _webhook_decoder.decode(given)
    events = list(dict.fromkeys(raw.events or FINAL_EVENTS))
    kept: dict[str, Any] = {"url": raw.url, "events": events}
    if raw.secret is not None:
        kept["secret"] = raw.secret
    return msgspec.json.encode(kept)


def as_json_schema(field: str, inputs: dict[str, Any]) -> dict[str, Any]:
    """Return the JSON Schema of the same body, for the documentation."""
    seconds = {"type": "number", "exclusiveMinimum": 0, "maximum": MAX_SECONDS}
    properties: dict[str, Any] = {
        field: inputs,
        "priority": {"enum": [priority.value for priority in Priority], "default": "normal"},
        "deadline_s": {**seconds, "description": "Expires if it has not begun within this time."},
        "timeout_s": {**seconds, "description": "Stopped when it has run for this long."},
        "webhook": _WEBHOOK,
        "metadata": {
            "type": "object",
            "description": f"Yours, returned with the job; at most {MAX_METADATA} bytes.",
        },
    }
    return {
        "type": "object",
        "properties": properties,
        "required": [field],
        "additionalProperties": False,
    }


def _webhook() -> CoreSchema:
    url = TypeAdapter(Annotated[HttpUrl, UrlConstraints(max_length=MAX_URL)]).core_schema
    events = core_schema.list_schema(core_schema.literal_schema(list(EVENTS)), min_length=1)
    secret = core_schema.no_info_after_validator_function(
        _signing, core_schema.str_schema(strict=True)
    )
    fields = {
        "url": core_schema.typed_dict_field(url),
        "events": _optional(core_schema.nullable_schema(events)),
        "secret": _optional(core_schema.nullable_schema(secret)),
    }
    return core_schema.typed_dict_schema(fields, extra_behavior="forbid")


def _signing(secret: str) -> str:
    try:
        key_of(secret)
    except ValueError:
        raise PydanticCustomError(
            "webhook_secret",
            "Secret should be `whsec_` and the base64 of 24 to 64 bytes, or any other 16 to 256 "
            "characters",
        ) from None
    return secret


def _optional(schema: CoreSchema) -> core_schema.TypedDictField:
    return core_schema.typed_dict_field(schema, required=False)
