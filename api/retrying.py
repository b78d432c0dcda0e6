"""A job that did not succeed, once more: asked for by its own tenant or by an administrator."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import orjson
from starlette.requests import Request

from api import headers
from api.front import Front
from api.middleware import HEADERS, REQUEST_ID, TRACEPARENT
from api.routes.submit import enter, fingerprint
from api.schemas import metadata_of
from jobs.errors import NotRetryable
from jobs.job import Job, NewJob, Submitted
from jobs.states import RETRYABLE


@dataclass(frozen=True, slots=True)
class Asked:
    """What the request for a retry says of itself."""

    idempotency_key: str | None
    traceparent: str | None
    request_id: str | None

    @classmethod
    def by(cls, request: Request) -> Self:
        """Read it from the request."""
        scope: Any = request.scope
        key = headers.parse_idempotency_key(scope[HEADERS].get(b"idempotency-key"))
        return cls(key, scope[TRACEPARENT], scope[REQUEST_ID])


async def submit_again(front: Front, old: Job, asked: Asked) -> Submitted:
    """Submit a job once more, in its own tenant, to the version in production now.

    Raises NotRetryable, ModelNotFound, InvalidInput, and all that a submit does.
    """
    if old.status not in RETRYABLE or old.input is None:
        allowed = ", ".join(sorted(RETRYABLE))
        raise NotRetryable(f"The job is {old.status}; a retry is for {allowed}.", job_id=old.id)
    entry = await front.cards.find(old.model)
    # The version may have changed since: what no longer fits is refused here, not in the engine.
    front.validator(entry).submit(b'{"input":%b}' % old.input)
    return await enter(front, _again(old, entry.version, asked), entry, 0)


def _again(old: Job, version: str, asked: Asked) -> NewJob:
    key = asked.idempotency_key
    deadline_s = None
    if old.deadline_at is not None:
        deadline_s = (old.deadline_at - old.created_at) / 1000
    return NewJob(
        model=old.model,
        version=version,
        tenant=old.tenant,
        input=old.input or b"null",
        priority=old.priority,
        timeout_s=old.timeout_s,
        deadline_s=deadline_s,
        metadata=metadata_of(old),
        # Not checked again: it was let in once, and each try of a delivery looks where it goes.
        webhook=_webhook_of(old),
        idempotency_key=key,
        fingerprint="" if key is None else fingerprint("retry", old.id, b"{}"),
        retry_of=old.id,
        traceparent=asked.traceparent,
        request_id=asked.request_id,
    )


def _webhook_of(old: Job) -> bytes | None:
    """Return a job's webhook as it is kept, with its secret."""
    webhook = None if old.extra is None else orjson.loads(old.extra).get("webhook")
    return None if webhook is None else orjson.dumps(webhook)
