"""Errors as RFC 9457 answers."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException

from api.problems import (
    Draining,
    MethodNotAllowed,
    PayloadTooLarge,
    as_error,
    internal_error,
    invalid_input,
    problem_response,
)
from jobs.errors import CODES, HeadraceError, NoSuchJob, QueueFull, QueueUnavailable, Unauthorized

SCOPE: dict[str, Any] = {"type": "http", "path": "/v1/x", "method": "PUT"}


def told(error: HeadraceError) -> tuple[int, dict[str, str], dict[str, Any]]:
    response = problem_response(error, SCOPE, "r1")
    headers = {name.decode(): value.decode() for name, value in response.raw_headers}
    return response.status_code, headers, json.loads(response.body)


def test_a_problem_has_every_member_of_the_contract() -> None:
    status, headers, body = told(NoSuchJob("There is no job x.", job_id="job_1"))
    assert status == 404
    assert headers["content-type"] == "application/problem+json"
    assert body == {
        "type": "urn:headrace:error:no_such_job",
        "title": CODES["no_such_job"].title,
        "status": 404,
        "detail": "There is no job x.",
        "instance": "/v1/x",
        "code": "no_such_job",
        "retryable": False,
        "fault": "client",
        "job_id": "job_1",
        "request_id": "r1",
    }


@pytest.mark.parametrize("code", [code for code in CODES if CODES[code].http_status])
def test_every_code_of_the_table_has_its_status(code: str) -> None:
    kind = type("Some", (HeadraceError,), {"code": code})
    status, headers, body = told(kind("why"))
    assert status == body["status"] == CODES[code].http_status
    assert ("retry-after" in headers) == (status in (429, 503))
    assert ("www-authenticate" in headers) == (status == 401)


@pytest.mark.parametrize(("given", "shown"), [(0.2, "1"), (1.0, "1"), (7.01, "8"), (120, "120")])
def test_retry_after_is_whole_seconds(given: float, shown: str) -> None:
    assert told(QueueFull("full", retry_after_s=given))[1]["retry-after"] == shown


def test_without_figures_the_next_probe_is_named() -> None:
    seen = {int(told(QueueUnavailable("away"))[1]["retry-after"]) for _ in range(200)}
    assert min(seen) >= 1
    assert max(seen) <= 10


def test_a_body_that_is_too_large_closes_the_connection() -> None:
    assert told(PayloadTooLarge("big"))[1]["connection"] == "close"
    assert told(Unauthorized("who"))[1]["www-authenticate"] == "Bearer"
    assert told(MethodNotAllowed("no", "GET, POST"))[1]["allow"] == "GET, POST"
    assert "retry-after" in told(Draining("bye"))[1]


def test_the_frameworks_errors_become_ours() -> None:
    assert as_error(HTTPException(404), SCOPE).code == "not_found"
    refused = as_error(HTTPException(405, headers={"Allow": "GET"}), SCOPE)
    assert isinstance(refused, MethodNotAllowed)
    assert refused.allow == "GET"
    assert as_error(HTTPException(400, "bad"), SCOPE).code == "malformed_request"
    one = {"type": "t", "loc": ("query", "limit"), "msg": "m", "input": "0", "ctx": {"ge": 1}}
    errors = as_error(RequestValidationError([one]), SCOPE).members["errors"]
    assert errors == [{"type": "t", "loc": ("query", "limit"), "msg": "m", "input": "0"}]


def test_the_detail_names_the_first_wrong_field_and_counts_the_rest() -> None:
    one = {"type": "t", "loc": ["body", "input", "a"], "msg": "wrong", "input": 1}
    assert invalid_input([one]).detail == "body.input.a: wrong"
    assert invalid_input([one, one, one]).detail == "body.input.a: wrong (and 2 more, see errors)"


def test_an_unforeseen_error_tells_nothing_of_itself() -> None:
    body = json.loads(internal_error(SCOPE, "r9").body)
    assert (body["status"], body["code"], body["request_id"]) == (500, "internal_error", "r9")
    assert body["retryable"] is True


def test_an_input_that_is_no_json_is_still_shown() -> None:
    error = invalid_input([{"type": "t", "loc": ["query"], "msg": "m", "input": {1, 2}}])
    assert told(error)[2]["errors"][0]["input"] == "{1, 2}"
