"""Every way a request or a job can fail, and what the caller is told.

HeadraceError
├── QueueUnavailable     Redis is away, loading, or failing over
├── NotDurable           written, but not to as many replicas as asked
├── QueueFull            no room for another job
├── WrongRedis           a server that cannot keep the promise; start is refused
├── ModelNotFound / VersionNotFound
├── NoSuchJob / NoSuchBatch / NoSuchWebhook
├── NotCancelable / NotRetryable
├── IdempotencyConflict
├── MalformedRequest / InvalidInput / WebhookUrlForbidden
└── Unauthorized / Forbidden
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar


@dataclass(frozen=True, slots=True)
class ErrorCode:
    """One code of the public table; `http_status` is None for codes that only jobs carry."""

    code: str
    title: str
    http_status: int | None
    retryable: bool
    fault: str


def _table(*rows: tuple[str, str, int | None, bool, str]) -> dict[str, ErrorCode]:
    return {row[0]: ErrorCode(*row) for row in rows}


#: code, title, HTTP status, whether the same request may succeed later, whose fault it is
CODES: dict[str, ErrorCode] = _table(
    ("malformed_request", "The request could not be read", 400, False, "client"),
    ("unauthorized", "No valid key was given", 401, False, "client"),
    ("forbidden", "This key may not do that", 403, False, "client"),
    ("not_found", "No such address", 404, False, "client"),
    ("model_not_found", "No such model", 404, False, "client"),
    ("version_not_found", "No such version of the model", 404, False, "client"),
    ("no_such_job", "No such job", 404, False, "client"),
    ("no_such_batch", "No such batch", 404, False, "client"),
    ("no_such_webhook", "No such delivery", 404, False, "client"),
    ("method_not_allowed", "This address does not take that method", 405, False, "client"),
    ("not_cancelable", "The state of the job does not allow this", 409, False, "client"),
    ("not_retryable", "The job cannot be retried in this state", 409, False, "client"),
    ("payload_too_large", "The request body is too large", 413, False, "client"),
    ("unsupported_media_type", "The request body is not JSON", 415, False, "client"),
    ("invalid_input", "The input does not fit the model", 422, False, "client"),
    ("idempotency_conflict", "The key was used for another request", 422, False, "client"),
    ("webhook_url_forbidden", "The webhook's URL may not be called", 422, False, "client"),
    ("deadline_unreachable", "The deadline cannot be met", 422, False, "client"),
    ("rate_limited", "Too many requests", 429, True, "client"),
    ("queue_full", "The queue is full", 503, True, "platform"),
    ("queue_unavailable", "The queue cannot be reached", 503, True, "platform"),
    ("not_durable", "The job could not be stored durably", 503, True, "platform"),
    ("draining", "This server is stopping", 503, True, "platform"),
    ("not_ready", "No worker is ready", 503, True, "platform"),
    ("internal_error", "An error of the server", 500, True, "platform"),
    ("invalid_output", "The model returned an invalid output", None, False, "model"),
    ("model_error", "The model raised an error", None, False, "model"),
    ("out_of_memory", "The GPU ran out of memory", None, True, "gpu"),
    ("input_too_large", "The input does not fit into GPU memory", None, False, "client"),
    ("engine_crashed", "The engine died while it ran the job", None, True, "gpu"),
    ("poisoned", "The job kills the engine", None, False, "client"),
    ("attempts_exhausted", "Every attempt failed", None, False, "model"),
    ("model_load_failed", "The model could not be loaded", None, True, "model"),
    ("version_gone", "The model's version is gone", None, True, "platform"),
    ("result_too_large", "The result is too large", None, False, "model"),
    ("result_store_failed", "The result could not be stored", None, True, "platform"),
    ("timed_out", "The job ran too long", None, True, "model"),
    ("expired", "The job was not started in time", None, True, "platform"),
    ("canceled", "The job was canceled", None, True, "client"),
)


def problem(
    code: str, detail: str, *, retryable: bool | None = None, **members: Any
) -> dict[str, Any]:
    """Return the RFC 9457 object of `code` without its `status`, as a job's `error` carries it.

    Members that are None are left out.
    """
    known = CODES[code]
    body = {
        "type": f"urn:headrace:error:{code}",
        "title": known.title,
        "detail": detail,
        "code": code,
        "retryable": known.retryable if retryable is None else retryable,
        "fault": known.fault,
    }
    body.update({name: value for name, value in members.items() if value is not None})
    return body


class HeadraceError(Exception):
    """Anything a caller is told about; `detail` says what was wrong and what to do."""

    code: ClassVar[str] = "internal_error"

    def __init__(self, detail: str, *, retry_after_s: float | None = None, **members: Any) -> None:
        super().__init__(detail)
        self.detail = detail
        self.retry_after_s = retry_after_s
        self.members = members

    def problem(self) -> dict[str, Any]:
        """Return the RFC 9457 object of this error, without its status."""
        return problem(self.code, self.detail, **self.members)


class QueueUnavailable(HeadraceError):
    """Redis cannot be reached; nothing is known to have been written."""

    code = "queue_unavailable"


class NotDurable(HeadraceError):
    """Redis took the write, but fewer replicas confirmed it than the durability asks for."""

    code = "not_durable"


class QueueFull(HeadraceError):
    """There is no room for another job."""

    code = "queue_full"


class WrongRedis(HeadraceError):
    """This Redis cannot keep the promise; the detail names the setting that mends it."""

    code = "queue_unavailable"


class ModelNotFound(HeadraceError):
    """No card of that model has ever been published."""

    code = "model_not_found"


class VersionNotFound(HeadraceError):
    """The model has no such version."""

    code = "version_not_found"


class NoSuchJob(HeadraceError):
    """No job of that id in this tenant."""

    code = "no_such_job"


class NoSuchBatch(HeadraceError):
    """No batch of that id in this tenant."""

    code = "no_such_batch"


class NoSuchWebhook(HeadraceError):
    """No delivery of that id of this job or batch, in this tenant."""

    code = "no_such_webhook"


class NotCancelable(HeadraceError):
    """The job has ended, or (for a delete) has not."""

    code = "not_cancelable"


class NotRetryable(HeadraceError):
    """The job succeeded or has not ended."""

    code = "not_retryable"


class IdempotencyConflict(HeadraceError):
    """The Idempotency-Key belongs to a different request."""

    code = "idempotency_conflict"


class Unauthorized(HeadraceError):
    """No key, or none that is valid."""

    code = "unauthorized"


class Forbidden(HeadraceError):
    """The key's role does not allow this."""

    code = "forbidden"


class MalformedRequest(HeadraceError):
    """The request could not be read at all."""

    code = "malformed_request"


class InvalidInput(HeadraceError):
    """The body was read but does not fit; `errors` lists each wrong field as FastAPI does."""

    code = "invalid_input"


class WebhookUrlForbidden(HeadraceError):
    """The address that events are to be sent to is none that this server calls."""

    code = "webhook_url_forbidden"
