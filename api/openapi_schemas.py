"""What every answer of the API looks like, as OpenAPI components."""

from __future__ import annotations

from typing import Any

from jobs.errors import CODES
from jobs.states import Priority, Status

Described = dict[str, Any]

_TIME = {"type": "string", "format": "date-time"}
_TEXT = {"type": "string"}
_COUNT = {"type": "integer", "minimum": 0}
_NUMBER = {"type": "number"}
_ANY: Described = {}
_ID = {"type": "string", "pattern": "^job_[0-9a-v]{29}$"}
_BATCH_ID = {"type": "string", "pattern": "^bat_[0-9a-v]{29}$"}


def reference(name: str) -> Described:
    """Return a reference to a component schema."""
    return {"$ref": f"#/components/schemas/{name}"}


def _object(described: Described, *, optional: tuple[str, ...] = ()) -> Described:
    required = [name for name in described if name not in optional]
    return {"type": "object", "properties": described, "required": required}


def _or_null(schema: Described) -> Described:
    return {"anyOf": [schema, {"type": "null"}]}


_STATUS = {"type": "string", "enum": [status.value for status in Status]}
_WEBHOOK = _object({"url": _TEXT, "events": _or_null({"type": "array", "items": _TEXT})})
_METRICS = _object(
    {
        "queue_s": _or_null(_NUMBER),
        "run_s": _or_null(_NUMBER),
        "batch_size": _or_null(_COUNT),
        "worker": _or_null(_TEXT),
    }
)
_JOB = _object(
    {
        "id": _ID,
        "model": _TEXT,
        "version": _TEXT,
        "status": _STATUS,
        "input": {"description": "Kept until the job succeeds."},
        "output": {"description": "The result of a succeeded job."},
        "error": _or_null(reference("JobError")),
        "priority": {"type": "string", "enum": [priority.value for priority in Priority]},
        "attempt": _COUNT,
        "crashes": _COUNT,
        "progress": _or_null(_object({"fraction": _or_null(_NUMBER), "message": _or_null(_TEXT)})),
        "queue": _or_null(_object({"ahead": _or_null(_COUNT), "eta_s": _or_null(_NUMBER)})),
        "created_at": _TIME,
        "started_at": _or_null(_TIME),
        "finished_at": _or_null(_TIME),
        "deadline_at": _or_null(_TIME),
        "retained_until": _or_null(_TIME),
        "timeout_s": _NUMBER,
        "metrics": _METRICS,
        "webhook": _or_null(_WEBHOOK),
        "metadata": _or_null({"type": "object"}),
        "retry_of": _or_null(_ID),
        "batch": _or_null(_BATCH_ID),
        "links": _object({"self": _TEXT, "cancel": _TEXT, "events": _TEXT}, optional=("events",)),
    }
)
_WRONG_FIELD = _object(
    {
        "type": {"type": "string", "description": "The kind of error, as Pydantic names it."},
        "loc": {
            "type": "array",
            "items": {"anyOf": [{"type": "string"}, {"type": "integer"}]},
            "description": "The place, from `body` on.",
        },
        "msg": _TEXT,
        "input": {
            "description": "What was given there; shortened when it is long. Not told to an "
            "administrator of another tenant."
        },
    },
    optional=("input",),
)
_JOB_ERROR: Described = {
    "type": {"type": "string", "format": "uri"},
    "title": _TEXT,
    "detail": _TEXT,
    "instance": _TEXT,
    "code": {"type": "string", "enum": sorted(CODES)},
    "retryable": {"type": "boolean", "description": "Whether the same may succeed later."},
    "fault": {"type": "string", "enum": ["client", "model", "gpu", "platform"]},
    "request_id": _TEXT,
    "job_id": _TEXT,
    "errors": {"type": "array", "items": reference("WrongField")},
}
_SOMETIMES = ("instance", "request_id", "job_id", "errors")
_WORKER = _object(
    {
        "name": _TEXT,
        "version": _TEXT,
        "state": _TEXT,
        "reason": _TEXT,
        "device": _TEXT,
        "beat_at": _or_null(_TIME),
    }
)
_MODEL = _object(
    {
        "name": _TEXT,
        "version": _TEXT,
        "versions": {"type": "array", "items": _TEXT},
        "state": {"type": "string", "enum": ["ready", "loading", "cold", "failed"]},
        "reason": _TEXT,
        "description": _or_null(_TEXT),
        "input_schema": {"type": "object"},
        "output_schema": {"type": "object"},
        "limits": {"type": "object"},
        "example": _ANY,
        "workers": {"type": "array", "items": _WORKER},
        "queue": {"type": "object"},
    }
)
_ATTEMPT = _object(
    {
        "attempt": _COUNT,
        "worker": _TEXT,
        "life": {"type": "string", "description": "The worker's name and one start of it."},
        "started_at": _or_null(_TIME),
        "ended_at": _TIME,
        "reason": _TEXT,
        "charged": {"type": "boolean", "description": "A crash was counted against the job."},
        "detail": {"type": "string", "description": "What is known beyond it, such as a stack."},
    }
)
_CONTENT = ("input", "output", "progress")
_RETRIED = _object({name: one for name, one in _JOB["properties"].items() if name not in _CONTENT})
_DEAD = _object(
    {
        **{name: one for name, one in _RETRIED["properties"].items() if name != "queue"},
        "tenant": _TEXT,
        "attempts": {"type": "array", "items": _ATTEMPT},
        "retried_as": {**_or_null(_ID), "description": "What a retry of many made of it."},
        "links": _object({"self": _TEXT, "retry": _TEXT}),
    }
)
_DEAD_RESULT = _object(
    {
        "id": _TEXT,
        "status": {"type": "string", "enum": ["retried", "skipped", "purged", "refused"]},
        "job": {**_or_null(_ID), "description": "The new job, also of an earlier retry."},
        "error": _or_null(reference("JobError")),
    }
)


def _page_of(schema: Described) -> Described:
    return _object({"data": {"type": "array", "items": schema}, "next_cursor": _or_null(_TEXT)})


SCHEMAS: dict[str, Described] = {
    "Job": _JOB,
    "JobError": {
        **_object(_JOB_ERROR, optional=_SOMETIMES),
        "description": "Why a job did not succeed: a Problem without its status.",
    },
    "JobPage": _page_of(reference("Job")),
    "DeadLetter": _DEAD,
    "DeadRetried": {**_RETRIED, "description": "The new job, without its content."},
    "DeadPage": _page_of(reference("DeadLetter")),
    "DeadResults": _page_of(_DEAD_RESULT),
    "AcceptedBatch": _object(
        {"batch": _BATCH_ID, "jobs": {"type": "array", "items": reference("Job")}}
    ),
    "Batch": _object(
        {
            "id": _BATCH_ID,
            "model": _TEXT,
            "total": _COUNT,
            "counts": {"type": "object", "additionalProperties": _COUNT},
            "created_at": _TIME,
            "finished_at": _or_null(_TIME),
            "links": _object({"self": _TEXT, "jobs": _TEXT}),
        }
    ),
    "Model": _MODEL,
    "ModelList": _object({"data": {"type": "array", "items": reference("Model")}}),
    "Scale": _object(
        {
            "queued": _COUNT,
            "running": _COUNT,
            "workers_ready": _COUNT,
            "backlog_seconds": _NUMBER,
            "wanted": _COUNT,
        }
    ),
    "WrongField": _WRONG_FIELD,
    "Problem": {
        **_object({**_JOB_ERROR, "status": {"type": "integer"}}, optional=_SOMETIMES),
        "description": "An error as RFC 9457 has it.",
    },
}
