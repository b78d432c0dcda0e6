"""What every error of the API must look like."""

from __future__ import annotations

from typing import Any

import httpx

FAULTS = {"client", "model", "gpu", "platform"}


def problem(answer: httpx.Response, status: int, code: str) -> dict[str, Any]:
    """Check that an answer is the RFC 9457 problem expected, whole, and return it."""
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"].startswith("application/problem+json"), answer.headers
    body: dict[str, Any] = answer.json()
    assert body["code"] == code, body
    assert body["status"] == status
    assert body["fault"] in FAULTS
    assert isinstance(body["retryable"], bool)
    assert body["request_id"] == answer.headers["x-request-id"]
    for name in ("type", "title", "detail", "instance"):
        assert isinstance(body[name], str), name
        assert body[name], name
    if status in (429, 503):
        assert 1 <= int(answer.headers["retry-after"]) <= 60
    return body


def job_error(job: dict[str, Any], code: str, *, retryable: bool) -> dict[str, Any]:
    """Check a job's error: the same object less `status`."""
    error: dict[str, Any] = job["error"]
    assert error["code"] == code, error
    assert error["retryable"] is retryable, error
    assert error["fault"] in FAULTS
    assert "status" not in error
    for name in ("type", "title", "detail"):
        assert error[name], name
    return error
