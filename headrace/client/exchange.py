"""Requests, answers and retries as generators that do no I/O.

A flow yields what is to be done (`Send` or `Pause`), is sent the response, and returns its
result. The synchronous and the asynchronous client drive the same flows.
"""

from __future__ import annotations

import json
import random
from collections.abc import Generator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, TypeVar

import httpx

from headrace.client.errors import ServerUnreachable, refusal

T = TypeVar("T")

_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 8.0
#: A server that asks for more patience than this is reported instead of waited for.
_LONGEST_RETRY_AFTER_S = 30.0
_RETRIED = frozenset({429, 500, 502, 503, 504})
#: Read limit beyond the time the server was asked to hold the answer.
_ANSWER_LIMIT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Send:
    """A request to be made."""

    method: str
    path: str
    params: Mapping[str, str] = field(default_factory=dict)
    headers: Mapping[str, str] = field(default_factory=dict)
    content: bytes | None = None
    held_s: float = 0.0

    def build(self, http: httpx.Client | httpx.AsyncClient) -> httpx.Request:
        """Make the request that either kind of client sends."""
        headers = dict(self.headers)
        if self.content is not None:
            headers["content-type"] = "application/json"
        return http.build_request(
            self.method,
            self.path,
            params=dict(self.params),
            headers=headers,
            content=self.content,
            timeout=httpx.Timeout(_ANSWER_LIMIT_S + self.held_s, connect=5.0),
        )


@dataclass(frozen=True, slots=True)
class Pause:
    """A time to let pass."""

    seconds: float


Flow = Generator[Send | Pause, httpx.Response, T]


def exchange(request: Send, retries: int) -> Flow[httpx.Response]:
    """Send until there is an answer worth returning; raise the typed error otherwise."""
    tries = 0
    while True:
        pause_s: float | None
        try:
            response = yield request
        except httpx.TransportError as error:
            failure: Exception = ServerUnreachable(
                f"no answer from {error.request.url}: {str(error) or type(error).__name__}"
            )
            failure.__cause__ = error
            pause_s = _backoff(tries)
        else:
            if response.is_success or (tries and _already_done(request, response)):
                return response
            retry_after_s = retry_after(response.headers.get("retry-after"))
            failure = refusal(response.status_code, _problem(response), retry_after_s)
            pause_s = _pause(response.status_code, retry_after_s, tries)
        if pause_s is None or tries >= retries:
            raise failure
        tries += 1
        yield Pause(pause_s)


def body(value: Any) -> bytes:
    """Encode a body; Pydantic models in it are taken as they dump themselves."""
    text = json.dumps(
        value, allow_nan=False, ensure_ascii=False, separators=(",", ":"), default=_dump
    )
    return text.encode()


def retry_after(value: str | None) -> float | None:
    """Read a Retry-After header: seconds, or a date."""
    if value is None:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    if until.tzinfo is None:
        until = until.replace(tzinfo=UTC)
    return max(0.0, (until - datetime.now(UTC)).total_seconds())


def _already_done(request: Send, response: httpx.Response) -> bool:
    # The first try may have erased the job although its answer was lost.
    return request.method == "DELETE" and response.status_code == 404


def _pause(status: int, retry_after_s: float | None, tries: int) -> float | None:
    if status not in _RETRIED:
        return None
    if retry_after_s is None:
        return _backoff(tries)
    return None if retry_after_s > _LONGEST_RETRY_AFTER_S else retry_after_s


def _backoff(tries: int) -> float:
    # Spread, so that a server that comes back does not meet all its clients at once.
    return min(_FIRST_PAUSE_S * 2.0**tries, _LONGEST_PAUSE_S) * random.uniform(0.5, 1.0)


def _problem(response: httpx.Response) -> Mapping[str, Any]:
    try:
        found = response.json()
    except ValueError:
        found = None
    if isinstance(found, dict):
        return found
    return {"title": response.reason_phrase, "detail": response.text[:200]}


def _dump(value: Any) -> Any:
    if hasattr(value, "model_dump"):
        return value.model_dump(mode="json")
    raise TypeError(f"{type(value).__name__} is not JSON")
