"""Every error as RFC 9457: the api's own errors, and how any error becomes an answer."""

from __future__ import annotations

import math
import random
from typing import Any

import orjson
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.types import Scope

from api.responses import Header, JsonBytes
from jobs.errors import CODES, HeadraceError, InvalidInput, MalformedRequest

#: The next probe of a Redis that is away is within this many seconds (inclusive).
PROBE_S = (1, 10)

_PROBLEM_JSON: Header = (b"content-type", b"application/problem+json")
_MEMBERS = ("type", "loc", "msg", "input")
_CLOSE: Header = (b"connection", b"close")


class PayloadTooLarge(HeadraceError):
    """The body is over the limit."""

    code = "payload_too_large"


class UnsupportedMediaType(HeadraceError):
    """The body is not plain JSON."""

    code = "unsupported_media_type"


class DeadlineUnreachable(HeadraceError):
    """The backlog is longer than the deadline."""

    code = "deadline_unreachable"


class Draining(HeadraceError):
    """This process is stopping."""

    code = "draining"


class NotReady(HeadraceError):
    """No worker, or a part of this process, is ready."""

    code = "not_ready"


class NotFound(HeadraceError):
    """No route of that path, or nothing there that this caller may see."""

    code = "not_found"


class MethodNotAllowed(HeadraceError):
    """The path exists, the method does not."""

    code = "method_not_allowed"

    def __init__(self, detail: str, allow: str) -> None:
        super().__init__(detail)
        self.allow = allow


def as_error(error: HTTPException | RequestValidationError, scope: Scope) -> HeadraceError:
    """Return what the framework raised as an error of ours."""
    if isinstance(error, RequestValidationError):
        return invalid_input([{name: one.get(name) for name in _MEMBERS} for one in error.errors()])
    if error.status_code == 404:
        return NotFound(f"There is nothing at {scope['path']}.")
    if error.status_code == 405:
        allow = (error.headers or {}).get("Allow", "")
        return MethodNotAllowed(f"{scope['path']} takes {allow}, not {scope['method']}.", allow)
    return MalformedRequest(str(error.detail))


def invalid_input(errors: list[dict[str, Any]]) -> InvalidInput:
    """Return the error that lists wrong fields, with the first of them as its sentence."""
    where = ".".join(str(part) for part in errors[0]["loc"])
    more = f" (and {len(errors) - 1} more, see errors)" if len(errors) > 1 else ""
    return InvalidInput(f"{where}: {errors[0]['msg']}{more}", errors=errors)


def problem_response(error: HeadraceError, scope: Scope, request_id: str) -> JsonBytes:
    """Return the answer that tells this error."""
    members = error.problem()
    status = CODES[error.code].http_status or 500
    body = {
        "type": members.pop("type"),
        "title": members.pop("title"),
        "status": status,
        "detail": members.pop("detail"),
        "instance": scope["path"],
        **members,
        "request_id": request_id,
    }
    response = JsonBytes(orjson.dumps(body, default=repr), status, _headers(error, status))
    response.raw_headers[0] = _PROBLEM_JSON
    return response


def internal_error(scope: Scope, request_id: str) -> JsonBytes:
    """Return the answer to an error nobody foresaw; what it was stands in the log alone."""
    detail = "The server failed; its log has the cause under this request_id."
    return problem_response(HeadraceError(detail), scope, request_id)


def _headers(error: HeadraceError, status: int) -> list[Header]:
    if status in (429, 503):
        return [(b"retry-after", b"%d" % _retry_after(error))]
    if status == 401:
        return [(b"www-authenticate", b"Bearer")]
    if isinstance(error, MethodNotAllowed):
        return [(b"allow", error.allow.encode("latin-1"))]
    if status == 413:
        # What is left of the body will not be read, so the connection cannot be used again.
        return [_CLOSE]
    return []


def _retry_after(error: HeadraceError) -> int:
    if error.retry_after_s is None:
        return random.randint(*PROBE_S)
    return max(1, math.ceil(error.retry_after_s))
