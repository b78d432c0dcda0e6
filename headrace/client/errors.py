"""What can go wrong between a program and a Headrace server.

HeadraceError
├── ServerUnreachable     no answer, after all tries
├── WaitTimeout           the job had not ended when the time was over
├── JobFailed             the job ended otherwise than `succeeded`
└── RequestRefused        the server answered with an error
    ├── InvalidInput      the request or the input is wrong (400, 413, 415, 422)
    │   └── WebhookUrlForbidden   the server does not call that URL
    ├── Unauthorized      no valid key (401)
    ├── Forbidden         the key may not do that (403)
    ├── NotFound          no such model, job, batch or delivery (404)
    ├── Conflict          not in this state (409)
    ├── RateLimited       too many requests (429)
    └── Unavailable       the server cannot do it now (5xx)
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class HeadraceError(Exception):
    """Anything the client raises about a server or a job."""


class ServerUnreachable(HeadraceError):
    """No answer came from the server."""


class WaitTimeout(HeadraceError, TimeoutError):
    """The job had not ended when the time was over; it goes on."""

    def __init__(self, job_id: str, status: str) -> None:
        super().__init__(f"{job_id} is still {status}")
        self.job_id = job_id
        self.status = status


class JobFailed(HeadraceError):
    """The job ended otherwise than `succeeded`."""

    def __init__(self, job_id: str, status: str, error: Mapping[str, Any] | None) -> None:
        self.job_id = job_id
        self.status = status
        self.error = dict(error or {})
        self.code = str(self.error.get("code", status))
        self.retryable = bool(self.error.get("retryable", False))
        self.detail = str(self.error.get("detail", ""))
        super().__init__(f"{job_id} {status}: {self.code} {self.detail}".rstrip())


class RequestRefused(HeadraceError):
    """The server answered with an error."""

    def __init__(
        self, status: int, problem: Mapping[str, Any], retry_after_s: float | None
    ) -> None:
        self.status = status
        self.problem = dict(problem)
        self.code = str(self.problem.get("code", "unknown"))
        self.detail = str(self.problem.get("detail", ""))
        self.retryable = bool(self.problem.get("retryable", False))
        self.retry_after_s = retry_after_s
        self.request_id: str | None = self.problem.get("request_id")
        self.errors: list[dict[str, Any]] = list(self.problem.get("errors") or [])
        super().__init__(f"{status} {self.code}: {self.detail or self.problem.get('title', '')}")


class InvalidInput(RequestRefused):
    """The request or the input is wrong; `errors` names each field."""


class WebhookUrlForbidden(InvalidInput):
    """The server does not send events to that URL; `detail` says why."""


class Unauthorized(RequestRefused):
    """No valid key was given."""


class Forbidden(RequestRefused):
    """The key may not do that."""


class NotFound(RequestRefused):
    """No such model, job, batch or delivery."""


class Conflict(RequestRefused):
    """The job is not in a state that allows it."""


class RateLimited(RequestRefused):
    """Too many requests; `retry_after_s` says when to come back."""


class Unavailable(RequestRefused):
    """The server cannot do it now; `retry_after_s` says when to come back."""


_BY_STATUS: dict[int, type[RequestRefused]] = {
    400: InvalidInput,
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    413: InvalidInput,
    415: InvalidInput,
    422: InvalidInput,
    429: RateLimited,
}
#: Kinds that their status does not tell.
_BY_CODE: dict[str, type[RequestRefused]] = {"webhook_url_forbidden": WebhookUrlForbidden}


def refusal(
    status: int, problem: Mapping[str, Any], retry_after_s: float | None = None
) -> RequestRefused:
    """Return the error for an answer's code and status."""
    kind = Unavailable if status >= 500 else _BY_STATUS.get(status, RequestRefused)
    kind = _BY_CODE.get(str(problem.get("code")), kind)
    return kind(status, problem, retry_after_s)
