"""The Python client against answers made up here: retries, errors, waiting, batches."""

from __future__ import annotations

import httpx
import pytest

import headrace
from headrace import (
    Client,
    Conflict,
    InvalidInput,
    JobFailed,
    NotFound,
    RateLimited,
    ServerUnreachable,
    Unauthorized,
    Unavailable,
    WaitTimeout,
    WebhookUrlForbidden,
)
from headrace.client import exchange, flows
from tests.unit.client_rig import Script, answer, client, job, problem


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(flows, "_POLL_S", 0.001)


def test_submit_sends_the_input_and_the_options() -> None:
    script = Script(answer(202, job()))
    made = client(script).submit("echo", {"text": "ä"}, priority="high", metadata={"a": 1})
    assert (made.id, made.status, made.model) == ("job_0", "queued", "echo")
    assert script.requests[0].url.path == "/v1/models/echo/jobs"
    assert script.requests[0].headers["content-type"] == "application/json"
    assert script.sent() == {"input": {"text": "ä"}, "priority": "high", "metadata": {"a": 1}}


def test_all_tries_of_a_submit_carry_one_key() -> None:
    script = Script(
        httpx.ConnectError("no"),
        httpx.ReadTimeout("late"),
        problem(503, "queue_unavailable", retryable=True, **{"retry-after": "0"}),
        answer(202, job()),
    )
    client(script).submit("echo", {})
    keys = [request.headers["idempotency-key"] for request in script.requests]
    assert len(keys) == 4
    assert len(set(keys)) == 1


def test_two_submits_carry_two_keys() -> None:
    script = Script(answer(202, job()))
    with client(script) as it:
        it.submit("echo", {})
        it.submit("echo", {})
    keys = {request.headers["idempotency-key"] for request in script.requests}
    assert len(keys) == 2


def test_the_callers_key_is_used() -> None:
    script = Script(answer(202, job()))
    client(script).submit("echo", {}, idempotency_key="mine")
    assert script.requests[0].headers["idempotency-key"] == "mine"
    assert script.sent() == {"input": {}}


def test_retries_are_bounded() -> None:
    script = Script(httpx.ConnectError("no"))
    with pytest.raises(ServerUnreachable, match="no") as caught:
        client(script, retries=2).submit("echo", {})
    assert isinstance(caught.value.__cause__, httpx.ConnectError)
    assert len(script.requests) == 3


def test_a_long_retry_after_is_reported_not_waited_for() -> None:
    script = Script(problem(429, "rate_limited", retryable=True, **{"retry-after": "3600"}))
    with pytest.raises(RateLimited) as caught:
        client(script).submit("echo", {})
    assert caught.value.retry_after_s == 3600
    assert len(script.requests) == 1


@pytest.mark.parametrize(
    ("status", "code", "kind"),
    [
        (400, "malformed_request", InvalidInput),
        (401, "unauthorized", Unauthorized),
        (404, "model_not_found", NotFound),
        (409, "not_cancelable", Conflict),
        (422, "invalid_input", InvalidInput),
    ],
)
def test_refusals_are_typed_and_not_retried(status: int, code: str, kind: type[Exception]) -> None:
    script = Script(problem(status, code))
    with pytest.raises(kind) as caught:
        client(script).submit("echo", {})
    error = caught.value
    assert isinstance(error, headrace.RequestRefused)
    assert (error.status, error.code, error.detail) == (status, code, "so it is")
    assert len(script.requests) == 1


def test_an_error_page_of_a_proxy_is_unavailable() -> None:
    script = Script(httpx.Response(502, text="<html>bad gateway"))
    with pytest.raises(Unavailable, match="bad gateway"):
        client(script, retries=1).submit("echo", {})
    assert len(script.requests) == 2


def test_wait_holds_until_final() -> None:
    script = Script(answer(200, job()), answer(200, job(status="succeeded", output={"a": 1})))
    with client(script) as it:
        made = it.jobs.get("job_0").wait()
    assert made.output == {"a": 1}
    assert script.requests[1].url.params["wait"] == "60"


def test_wait_raises_what_the_job_failed_of() -> None:
    error = {"code": "model_error", "detail": "boom", "retryable": True}
    script = Script(answer(200, job(status="failed", error=error)))
    made = client(script).jobs.get("job_0")
    with pytest.raises(JobFailed, match="boom") as caught:
        made.wait()
    assert (caught.value.code, caught.value.retryable) == ("model_error", True)
    assert made.status == "failed"


def test_wait_gives_up_when_the_time_is_over() -> None:
    script = Script(answer(200, job(status="running")))
    with pytest.raises(WaitTimeout, match="still running"):
        client(script).jobs.get("job_0").wait(timeout=0.02)
    assert "wait" not in script.requests[-1].url.params


def test_cancel_retry_refresh_delete() -> None:
    script = Script(
        answer(200, job()),
        answer(200, job(status="canceled")),
        answer(200, job(status="canceled")),
        answer(202, job(1, retry_of="job_0")),
        httpx.Response(204),
    )
    made = client(script).jobs.get("job_0")
    assert made.cancel().status == "canceled"
    assert made.refresh().final
    assert made.retry().id == "job_1"
    made.delete()
    methods = [(request.method, request.url.path) for request in script.requests[1:]]
    assert methods == [
        ("POST", "/v1/jobs/job_0/cancel"),
        ("GET", "/v1/jobs/job_0"),
        ("POST", "/v1/jobs/job_0/retry"),
        ("DELETE", "/v1/jobs/job_0"),
    ]


def test_a_delete_whose_answer_was_lost_is_done() -> None:
    script = Script(httpx.ReadError("cut"), problem(404, "no_such_job"))
    client(script).jobs.delete("job_0")
    with pytest.raises(NotFound):
        client(Script(problem(404, "no_such_job"))).jobs.delete("job_0")


def test_list_and_all_follow_the_cursor() -> None:
    script = Script(
        answer(200, {"data": [job(2), job(1)], "next_cursor": "c"}),
        answer(200, {"data": [job(0)], "next_cursor": None}),
    )
    found = [each.id for each in client(script).jobs.all(model="echo", status="queued")]
    assert found == ["job_2", "job_1", "job_0"]
    assert dict(script.requests[1].url.params) == {
        "model": "echo",
        "status": "queued",
        "cursor": "c",
    }


def test_models() -> None:
    script = Script(answer(200, {"data": [{"name": "echo"}]}), answer(200, {"name": "echo"}))
    with client(script) as it:
        assert it.models.list() == [{"name": "echo"}]
        assert it.models.get("echo") == {"name": "echo"}


def test_the_key_is_sent_and_the_environment_is_the_default(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("HEADRACE_URL", "http://elsewhere:1234")
    monkeypatch.setenv("HEADRACE_API_KEY", "hr_a_b")
    script = Script(answer(200, job()))
    Client(transport=httpx.MockTransport(script)).jobs.get("job_0")
    assert script.requests[0].url.host == "elsewhere"
    assert script.requests[0].headers["authorization"] == "Bearer hr_a_b"
    client(script, key="hr_c_d").jobs.get("job_0")
    assert script.requests[1].headers["authorization"] == "Bearer hr_c_d"


def test_a_submit_says_where_events_go() -> None:
    script = Script(answer(202, job()))
    hook: flows.WebhookOptions = {"url": "https://example.com", "events": iter(["job.failed"])}
    client(script).submit("echo", {}, webhook=hook)
    assert script.sent()["webhook"] == {"url": "https://example.com", "events": ["job.failed"]}


def test_a_url_that_is_not_called_has_an_error_of_its_own() -> None:
    script = Script(problem(422, "webhook_url_forbidden"))
    with pytest.raises(WebhookUrlForbidden) as raised:
        client(script).submit("echo", {}, webhook={"url": "https://localhost"})
    assert isinstance(raised.value, InvalidInput)
    assert len(script.requests) == 1
