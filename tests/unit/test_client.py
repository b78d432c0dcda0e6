"""The Python client against answers made up here: retries, errors, waiting, batches."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import httpx
import pytest

import headrace
from headrace import (
    AsyncClient,
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
)
from headrace.client import exchange, flows

Handler = Callable[[httpx.Request], httpx.Response]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(flows, "_POLL_S", 0.001)


def job(number: int = 0, status: str = "queued", **members: Any) -> dict[str, Any]:
    return {"id": f"job_{number}", "model": "echo", "version": "1", "status": status, **members}


def answer(status: int, content: Any, **headers: str) -> httpx.Response:
    return httpx.Response(status, json=content, headers=headers)


def problem(status: int, code: str, *, retryable: bool = False, **headers: str) -> httpx.Response:
    members = {"code": code, "detail": "so it is", "retryable": retryable, "request_id": "r1"}
    return answer(status, members, **headers)


class Script:
    """Answers in the given order, the last one for ever, and remembers what was asked."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        chosen = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(chosen, Exception):
            raise chosen
        return chosen

    def sent(self, number: int = 0) -> Any:
        return json.loads(self.requests[number].content)


def client(handler: Handler, **options: Any) -> Client:
    return Client("http://test", transport=httpx.MockTransport(handler), **options)


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


class Server:
    """Takes batches and ends each job when it is waited for; `fails` names those that fail."""

    def __init__(self, fails: frozenset[int] = frozenset()) -> None:
        self.inputs: list[Any] = []
        self.sizes: list[int] = []
        self.keys: list[str] = []
        self.fails = fails
        self.final: set[int] = set()

    def __call__(self, request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            self.keys.append(request.headers["idempotency-key"])
            new = json.loads(request.content)["inputs"]
            first = len(self.inputs)
            self.inputs += new
            self.sizes.append(len(new))
            jobs = [job(first + offset) for offset in range(len(new))]
            return answer(202, {"batch": f"bat_{first}", "jobs": jobs})
        if request.url.path == "/v1/jobs":
            ids = request.url.params["ids"].split(",")
            # Newest first, as the server lists them.
            return answer(200, {"data": [self.job(id_) for id_ in reversed(ids)]})
        waited = int(request.url.path.rpartition("_")[2])
        self.final |= set(range(waited + 1))
        return answer(200, self.job(f"job_{waited}"))

    def job(self, id_: str) -> dict[str, Any]:
        number = int(id_.removeprefix("job_"))
        if number not in self.final:
            return job(number)
        if number in self.fails:
            return job(number, "failed", error={"code": "model_error", "detail": "no"})
        return job(number, "succeeded", output=self.inputs[number] * 2)


def test_map_returns_outputs_in_order_over_batches() -> None:
    server = Server()
    assert client(server).map("echo", iter(range(2500)), idempotency_key="k") == [
        2 * number for number in range(2500)
    ]
    assert server.sizes == [1000, 1000, 500]
    assert server.keys == ["k-0", "k-1", "k-2"]


def test_map_splits_by_bytes() -> None:
    server = Server()
    texts = ["x" * 400_000] * 5
    assert client(server).map("echo", texts) == [text * 2 for text in texts]
    assert server.sizes == [2, 2, 1]


def test_map_of_nothing_asks_nothing() -> None:
    assert client(Server()).map("echo", []) == []


def test_map_raises_the_first_failure_or_gives_it_in_place() -> None:
    with pytest.raises(JobFailed, match="job_1"):
        client(Server(frozenset({1, 2}))).map("echo", [1, 2, 3])
    found = client(Server(frozenset({1}))).map("echo", [1, 2, 3], return_exceptions=True)
    assert (found[0], found[2]) == (2, 6)
    assert isinstance(found[1], JobFailed)


async def test_the_async_client_does_the_same() -> None:
    async with AsyncClient("http://test", transport=httpx.MockTransport(Server())) as it:
        assert await it.map("echo", range(3)) == [0, 2, 4]
    script = Script(
        httpx.ConnectError("no"), answer(202, job()), answer(200, job(status="succeeded", output=1))
    )
    async with AsyncClient("http://test", transport=httpx.MockTransport(script)) as it:
        made = await it.submit("echo", {})
        assert (await made.wait()).output == 1
        assert (
            script.requests[0].headers["idempotency-key"]
            == (script.requests[1].headers["idempotency-key"])
        )


async def test_the_async_job_and_lists() -> None:
    script = Script(
        answer(200, job()),
        answer(200, job(status="canceling")),
        answer(200, job(status="canceled")),
        answer(202, job(1)),
        httpx.Response(204),
        answer(200, {"data": [job()], "next_cursor": "c"}),
        answer(200, {"data": [job(1)]}),
        answer(200, {"data": []}),
        answer(200, {"name": "echo"}),
    )
    async with AsyncClient("http://test", transport=httpx.MockTransport(script)) as it:
        made = await it.jobs.get("job_0")
        assert (await made.cancel()).status == "canceling"
        assert (await made.refresh()).status == "canceled"
        assert (await made.retry()).id == "job_1"
        await made.delete()
        assert [each.id async for each in it.jobs.all()] == ["job_0", "job_1"]
        assert await it.models.list() == []
        assert await it.models.get("echo") == {"name": "echo"}


def test_what_is_not_json_is_refused_here() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        client(Script(answer(202, job()))).submit("echo", float("nan"))
    with pytest.raises(TypeError, match="set is not JSON"):
        client(Script(answer(202, job()))).submit("echo", {1})


def test_a_pydantic_model_is_an_input() -> None:
    class Input:
        def model_dump(self, mode: str) -> dict[str, str]:
            return {"mode": mode}

    script = Script(answer(202, job()))
    client(script).submit("echo", Input())
    assert script.sent() == {"input": {"mode": "json"}}


def test_retry_after_reads_seconds_and_dates() -> None:
    assert exchange.retry_after("1.5") == 1.5
    assert exchange.retry_after("Wed, 21 Oct 2015 07:28:00 GMT") == 0
    assert exchange.retry_after("soon") is None
    assert exchange.retry_after(None) is None


def test_the_public_names_exist() -> None:
    assert sorted(headrace.__all__) == list(headrace.__all__)
    assert all(getattr(headrace, name).__name__ == name for name in headrace.__all__)
    with pytest.raises(AttributeError):
        headrace.nothing  # noqa: B018


def test_the_import_is_cheap() -> None:
    code = (
        "import sys; from headrace import Client; "
        "heavy = {'redis', 'fastapi', 'pydantic', 'torch', 'typer', 'uvicorn'}; "
        "print(sorted(heavy & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
