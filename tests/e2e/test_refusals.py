"""Requests that are refused before they can cost anything, each with a clear error."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import httpx
import pytest

from headrace.chaos.stack import Api

from .problems import problem

JOBS = "/v1/models/echo/jobs"
JSON = {"Content-Type": "application/json"}
MIB = 1024 * 1024


def send(api: Api, body: bytes | Iterator[bytes], **headers: str) -> httpx.Response:
    return api.call("POST", JOBS, content=body, headers={**JSON, **headers})


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"nonsense",
        b'{"input": {"message": NaN}}',
        b'{"input": {"message": Infinity}}',
        b'{"input": {"message": -Infinity}}',
        b'{"input": {"message": 1e400}}',
        b'{"input": {"message": 1, "message": 2}}',
        b'{"input": {"message": 1}, "input": {"message": 2}}',
        b'{"input": {"message": {"a": 1, "\\u0061": 2}}}',
        b'{"input": {"message": "\\ud800"}}',
        b'{"input": {"message": "\\udc00\\ud800"}}',
        b'{"input": {"message": "\xff\xfe"}}',
        b'{"input": {"message": "\xed\xa0\x80"}}',
        b'{"input": {"message": ' + b"[" * 40 + b"]" * 40 + b"}}",
        b'{"input": {"message": ' + b'{"a":' * 40 + b"1" + b"}" * 40 + b"}}",
        b'{"input": {"message": ' + b"[" * 100_000 + b"}}",
        b'{"input": {"message": 1}} {}',
        b'{"input": {"message": 01}}',
        b'{"input": {"message": \'a\'}}',
        b"[]",
        b"null",
    ],
    ids=lambda body: repr(body[:40]),
)  # fmt: skip
def test_a_body_that_is_no_strict_json_object(api: Api, body: bytes) -> None:
    problem(send(api, body), 400, "malformed_request")


def test_nesting_is_allowed_up_to_32(api: Api) -> None:
    deepest: Any = 1
    for _ in range(30):  # the envelope and the input are two more
        deepest = [deepest]
    assert api.run("echo", {"message": deepest})["output"] == {"message": deepest}
    problem(api.post("echo", {"message": [deepest]}), 400, "malformed_request")


@pytest.mark.parametrize("body", [{"input": {"message": 1}, "colour": 1}, {"inputs": []}, {}])
def test_an_unknown_or_missing_field_of_the_envelope(api: Api, body: dict[str, Any]) -> None:
    errors = problem(api.call("POST", JOBS, json=body), 422, "invalid_input")["errors"]
    assert all(error["loc"][0] == "body" for error in errors)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("priority", "urgent"), ("priority", 1), ("deadline_s", 0), ("deadline_s", -1),
        ("deadline_s", "5"), ("timeout_s", 0), ("timeout_s", True),
        ("metadata", "text"), ("metadata", [1]),
    ],
)  # fmt: skip
def test_a_wrong_option_is_named(api: Api, name: str, value: Any) -> None:
    answer = api.post("echo", {"message": 1}, **{name: value})
    errors = problem(answer, 422, "invalid_input")["errors"]
    assert [error["loc"][:2] for error in errors] == [["body", name]]


@pytest.mark.parametrize(
    "url",
    [
        "https://localhost/", "https://127.0.0.1/", "https://10.0.0.1/", "https://[::1]/",
        "https://[::ffff:127.0.0.1]/", "https://169.254.169.254/", "https://0x7f.1/",
        "http://93.184.215.14/", "https://93.184.215.14:22/", "https://a:b@93.184.215.14/",
    ],
)  # fmt: skip
def test_a_webhook_that_must_not_be_called(api: Api, url: str) -> None:
    hook = {"url": url, "secret": "whsec_" + "QUFB" * 8}
    body = problem(api.post("echo", {"message": 1}, webhook=hook), 422, "webhook_url_forbidden")
    assert body["errors"][0]["loc"] == ["body", "webhook", "url"]
    assert (body["retryable"], body["fault"]) == (False, "client")


def test_a_webhook_that_cannot_be_signed(api: Api) -> None:
    answer = api.post("echo", {"message": 1}, webhook={"url": "https://93.184.215.14/"})
    body = problem(answer, 422, "invalid_input")
    assert [error["loc"] for error in body["errors"]] == [["body", "webhook", "secret"]]


def test_a_delivery_that_is_not_there(api: Api) -> None:
    job = api.submit("echo", {"message": 1})["id"]
    path = f"/v1/jobs/{job}/webhooks"
    assert api.call("GET", path).json() == {"data": []}
    problem(api.call("POST", f"{path}/wh_{'0' * 29}/replay"), 404, "no_such_webhook")


def test_a_body_over_the_limit(api: Api) -> None:
    body = json.dumps({"input": {"message": "x" * MIB}}).encode()
    problem(send(api, body), 413, "payload_too_large")


def test_a_chunked_body_over_the_limit_without_a_length(api: Api) -> None:
    def chunks() -> Iterator[bytes]:
        yield b'{"input": {"message": "'
        for _ in range(40):
            yield b"x" * 65_536
        yield b'"}}'

    problem(send(api, chunks()), 413, "payload_too_large")


def test_a_chunked_body_within_the_limit(api: Api) -> None:
    answer = send(api, iter([b'{"input": ', b'{"message": "in two"}}']), Prefer="wait")
    assert answer.json()["output"] == {"message": "in two"}


@pytest.mark.parametrize(
    "headers",
    [
        {"Content-Type": "text/plain"},
        {"Content-Type": "application/x-www-form-urlencoded"},
        {"Content-Type": "application/json; charset=latin-1"},
        {"Content-Encoding": "gzip"},
    ],
    ids=str,
)
def test_another_media_type(api: Api, headers: dict[str, str]) -> None:
    body = b'{"input": {"message": 1}}'
    answer = api.call("POST", JOBS, content=body, headers={**JSON, **headers})
    problem(answer, 415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("path", "code"),
    [
        ("/v1/models/nothing", "model_not_found"),
        ("/v1/models/nothing/scale", "model_not_found"),
        ("/v1/models/echo@9/scale", "version_not_found"),
        ("/v1/jobs/job_" + "0" * 29, "no_such_job"),
        ("/v1/jobs/garbage", "no_such_job"),
        ("/v1/batches/bat_" + "0" * 29, "no_such_batch"),
    ],
)
def test_a_thing_that_is_not_there(api: Api, path: str, code: str) -> None:
    problem(api.call("GET", path), 404, code)


@pytest.mark.parametrize(
    ("model", "code"), [("nothing", "model_not_found"), ("echo@9", "version_not_found")]
)
def test_a_submit_to_a_model_that_is_not_there(api: Api, model: str, code: str) -> None:
    problem(api.post(model, {"message": 1}), 404, code)


def test_a_pinned_version_is_taken(api: Api) -> None:
    assert api.run("echo@1", {"message": 1})["version"] == "1"


@pytest.mark.parametrize("query", ["limit=0", "limit=-1", "limit=x", "status=done", "cursor=zzz"])
def test_a_wrong_query(api: Api, query: str) -> None:
    answer = api.call("GET", f"/v1/jobs?{query}")
    assert answer.status_code in (400, 422), answer.text
    problem(answer, answer.status_code, answer.json()["code"])


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [("GET", "/v1/nothing", 404), ("PUT", JOBS, 405), ("DELETE", "/v1/models", 405)],
)
def test_a_route_that_is_not_there_is_a_problem_too(
    api: Api, method: str, path: str, status: int
) -> None:
    answer = api.call(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"].startswith("application/problem+json")
