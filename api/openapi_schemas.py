"""What every answer of the API looks like, as OpenAPI components."""

from __future__ import annotations

from typing import Any

from jobs.errors import CODES
from jobs.states import Priority, Status

Described = dict[str, Any]

TIME = {"type": "string", "format": "date-time"}
TEXT = {"type": "string"}
COUNT = {"type": "integer", "minimum": 0}
NUMBER = {"type": "number"}
_ANY: Described = {}
_ID = {"type": "string", "pattern": "^job_[0-9a-v]{29}$"}
_BATCH_ID = {"type": "string", "pattern": "^bat_[0-9a-v]{29}$"}


def reference(name: str) -> Described:
    """Return a reference to a component schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def object_of(described: Described, *, optional: tuple[str, ...] = ()) -> Described:
    required = [name for name in described if name not in optional]
    return {"type": "object", "properties": described, "required": required}


def or_null(schema: Described) -> Described:
    return {"anyOf": [schema, {"type": "null"}]}


_STATUS = {"type": "string", "enum": [status.value for status in Status]}
_WEBHOOK = object_of({"url": TEXT, "events": or_null({"type": "array", "items": TEXT})})
_METRICS = object_of(
    {
        "queue_s": or_null(NUMBER),
        "run_s": or_null(NUMBER),
        "batch_size": or_null(COUNT),
        "worker": or_null(TEXT),
    }
)
_JOB = object_of(
    {
        "id": _ID,
        "model": TEXT,
        "version": TEXT,
        "status": _STATUS,
        "input": {"description": "Kept until the job succeeds."},
        "output": {"description": "The result of a succeeded job."},
        "error": or_null(reference("JobError")),
        "priority": {"type": "string", "enum": [priority.value for priority in Priority]},
        "attempt": COUNT,
        "crashes": COUNT,
        "progress": or_null(object_of({"fraction": or_null(NUMBER), "message": or_null(TEXT)})),
        "queue": or_null(object_of({"ahead": or_null(COUNT), "eta_s": or_null(NUMBER)})),
        "created_at": TIME,
        "started_at": or_null(TIME),
        "finished_at": or_null(TIME),
        "deadline_at": or_null(TIME),
        "retained_until": or_null(TIME),
        "timeout_s": NUMBER,
        "metrics": _METRICS,
        "webhook": or_null(_WEBHOOK),
        "metadata": or_null({"type": "object"}),
        "retry_of": or_null(_ID),
        "batch": or_null(_BATCH_ID),
        "links": object_of({"self": TEXT, "cancel": TEXT, "events": TEXT}, optional=("events",)),
    }
)
_WRONG_FIELD = object_of(
    {
        "type": {"type": "string", "description": "The kind of error, as Pydantic names it."},
        "loc": {
            "type": "array",
            "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
            "description": "The place, from `body` on.",
        },
        "msg": TEXT,
        "input": {
            "description": "What was given there; shortened when it is long. Not told to an "
            "administrator of another tenant."
        },
    },
    optional=("input",),
)
_JOB_ERROR: Described = {
    "type": {"type": "string", "format": "uri"},
    "title": TEXT,
    "detail": TEXT,
    "instance": TEXT,
    "code": {"type": "string", "enum": sorted(CODES)},
    "retryable": {"type": "boolean", "description": "Whether the same may succeed later."},
    "fault": {"type": "string", "enum": ["client", "model", "gpu", "platform"]},
    "request_id": TEXT,
    "job_id": TEXT,
    "errors": {"type": "array", "items": reference("WrongField")},
}
_SOMETIMES = ("instance", "request_id", "job_id", "errors")
_WORKER = object_of(
    {
        "name": TEXT,
        "version": TEXT,
        "state": TEXT,
        "reason": TEXT,
        "device": TEXT,
        "beat_at": or_null(TIME),
    }
)
_MODEL = object_of(
    {
        "name": TEXT,
        "version": TEXT,
        "versions": {"type": "array", "items": TEXT},
        "state": {"type": "string", "enum": ["ready", "loading", "cold", "failed"]},
        "reason": TEXT,
        "description": or_null(TEXT),
        "input_schema": {"type": "object"},
        "output_schema": {"type": "object"},
        "limits": {"type": "object"},
        "example": _ANY,
        "workers": {"type": "array", "items": _WORKER},
        "queue": {"type": "object"},
    }
)
_ATTEMPT = object_of(
    {
        "attempt": COUNT,
        "worker": TEXT,
        "life": {"type": "string", "description": "The worker's name and one start of it."},
        "started_at": or_null(TIME),
        "ended_at": TIME,
        "reason": TEXT,
        "charged": {"type": "boolean", "description": "A crash was counted against the job."},
        "detail": {"type": "string", "description": "What is known beyond it, such as a stack."},
    }
)
_CONTENT = ("input", "output", "progress")
_RETRIED = object_of(
    {name: one for name, one in _JOB["properties"].items() if name not in _CONTENT}
)
_DEAD = object_of(
    {
        **{name: one for name, one in _RETRIED["properties"].items() if name != "queue"},
        "tenant": TEXT,
        "attempts": {"type": "array", "items": _ATTEMPT},
        "retried_as": {**or_null(_ID), "description": "What a retry of many made of it."},
        "links": object_of({"self": TEXT, "retry": TEXT}),
    }
)
_DEAD_RESULT = object_of(
    {
        "id": TEXT,
        "status": {"type": "string", "enum": ["retried", "skipped", "purged", "refused"]},
        "job": {**or_null(_ID), "description": "The new job, also of an earlier retry."},
        "error": or_null(reference("JobError")),
    }
)


def page_of(schema: Described) -> Described:
    return object_of({"data": {"type": "array", "items": schema}, "next_cursor": or_null(TEXT)})


SCHEMAS: dict[str, Described] = {
    "Job": _JOB,
    "JobError": {
        **object_of(_JOB_ERROR, optional=_SOMETIMES),
        "description": "Why a job did not succeed: a Problem without its status.",
    },
    "JobPage": page_of(reference("Job")),
    "DeadLetter": _DEAD,
    "DeadRetried": {**_RETRIED, "description": "The new job, without its content."},
    "DeadPage": page_of(reference("DeadLetter")),
    "DeadResults": page_of(_DEAD_RESULT),
    "AcceptedBatch": object_of(
        {"batch": _BATCH_ID, "jobs": {"type": "array", "items": reference("Job")}}
    ),
    "Batch": object_of(
        {
            "id": _BATCH_ID,
            "model": TEXT,
            "total": COUNT,
            "counts": {"type": "object", "additionalProperties": COUNT},
            "created_at": TIME,
            "finished_at": or_null(TIME),
            "links": object_of({"self": TEXT, "jobs": TEXT}),
        }
    ),
    "Model": _MODEL,
    "ModelList": object_of({"data": {"type": "array", "items": reference("Model")}}),
    "Scale": object_of(
        {
            "queued": COUNT,
            "running": COUNT,
            "workers_ready": COUNT,
            "backlog_seconds": NUMBER,
            "wanted": COUNT,
        }
    ),
    "WrongField": _WRONG_FIELD,
    "Problem": {
        **object_of({**_JOB_ERROR, "status": {"type": "integer"}}, optional=_SOMETIMES),
        "description": "An error as RFC 9457 has it.",
    },
}
