"""The Python client against answers made up here: map, the asynchronous client, its names."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import httpx
import pytest

import headrace
from headrace import (
    AsyncClient,
    JobFailed,
)
from headrace.client import exchange, flows
from tests.unit.client_rig import Script, answer, client, job


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exchange, "_FIRST_PAUSE_S", 0.001)
    monkeypatch.setattr(flows, "_POLL_S", 0.001)


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
