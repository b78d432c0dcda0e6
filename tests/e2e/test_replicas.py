"""Four API processes behave as one, while models come and go."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import pytest

from headrace.chaos.stack import Api, Stack, tree, until

from .folders import EXAMPLES, MODELS
from .held import held, waits


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A Redis for this module."""
    with Stack() as started:
        yield started


@pytest.fixture(scope="module")
def four(stack: Stack) -> Api:
    """An API of four processes."""
    return stack.api(api_workers="4")


def asked_afresh(api: Api, path: str, times: int = 24) -> list[httpx.Response]:
    """Ask over a new connection each time, so that every process gets its share."""

    def ask(_: int) -> httpx.Response:
        return httpx.get(api.url + path, timeout=20)

    with ThreadPoolExecutor(8) as pool:
        return list(pool.map(ask, range(times)))


def states(api: Api, model: str) -> set[str]:
    """Return the state of a model as the processes show it."""
    return {answer.json()["state"] for answer in asked_afresh(api, f"/v1/models/{model}", 12)}


def test_there_are_four(four: Api) -> None:
    until(lambda: len(tree(four.process.pid)) >= 4)


def test_openapi_follows_a_model_on_every_process(stack: Stack, four: Api) -> None:
    path = "/v1/models/echo/jobs"
    shown = [path in answer.json()["paths"] for answer in asked_afresh(four, "/openapi.json")]
    assert not any(shown)
    stack.worker(EXAMPLES / "echo")
    four.ready("echo")
    until(lambda: all(path in a.json()["paths"] for a in asked_afresh(four, "/openapi.json")), 5)


def test_any_process_answers_for_a_job_of_any_other(four: Api) -> None:
    job = four.submit("echo", {"message": "shared"})["id"]
    answers = asked_afresh(four, f"/v1/jobs/{job}?wait=10")
    assert {answer.json()["status"] for answer in answers} == {"succeeded"}


def test_one_key_at_forty_connections_makes_one_job(four: Api) -> None:
    def send(_: int) -> httpx.Response:
        return httpx.post(
            four.url + "/v1/models/echo/jobs",
            json={"input": {"message": 1}},
            headers={"Idempotency-Key": "across-processes"},
            timeout=30,
        )

    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(send, range(40)))
    assert len({answer.json()["id"] for answer in answers}) == 1


def test_a_model_goes_away_and_comes_back(stack: Stack, four: Api) -> None:
    worker = stack.worker(MODELS / "actor")
    four.ready("actor")
    assert worker.stop() == 0
    until(lambda: states(four, "actor") == {"cold"})
    assert four.status("/healthz?model=actor") == 503
    assert four.status("/healthz") == 200
    answer = four.post("actor", {"name": "cold"})
    assert answer.status_code == 202
    behind = [four.submit("actor", {"name": "behind"}) for _ in range(2)]
    assert [four.get(job["id"])["queue"]["ahead"] for job in behind] == [1, 2]
    assert four.call("GET", "/v1/models/actor/scale").json()["wanted"] >= 1
    stack.worker(MODELS / "actor")
    assert four.finished(answer.json()["id"], 40)["status"] == "succeeded"
    until(lambda: states(four, "actor") == {"ready"})


def test_a_job_expires_although_no_worker_lives(stack: Stack, four: Api) -> None:
    worker = stack.worker(MODELS / "kinds")
    four.ready("kinds")
    worker.stop()
    job = four.submit("kinds", {"text": "a"}, deadline_s=1)
    ended = four.finished(job["id"], 10)
    assert (ended["status"], ended["error"]["code"]) == ("expired", "expired")


def test_a_drained_api_answers_held_waits(stack: Stack, four: Api, tmp_path: Path) -> None:
    api, sent = stack.api(), threading.Event()
    with held(four, tmp_path) as job, ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(waits, api, job, sent)
        assert sent.wait(20)
        # What is asked after it is answered after it was heard.
        assert api.get(job)["status"] == "running"
        assert api.process.stop() == 0
        assert waiting.result(5)["status"] == "running"
