"""Redis goes away and comes back: the API says so, and nothing that was accepted is lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from headrace.chaos.stack import Api, Stack, until

from .folders import EXAMPLES, MODELS
from .held import sends
from .problems import problem

GIVEN = {"message": "x"}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A stack whose Redis is killed and started again."""
    with Stack() as started:
        yield started


@pytest.fixture(scope="module")
def served(stack: Stack) -> Api:
    """An API with a worker of echo and one of actor."""
    api = stack.api()
    stack.worker(EXAMPLES / "echo")
    stack.worker(MODELS / "actor")
    api.ready("echo", "actor")
    return api


@pytest.fixture
def away(stack: Stack, served: Api) -> Iterator[Api]:
    """The API while Redis is away."""
    stack.redis.kill()
    yield served
    if not stack.redis_answers():
        back(stack)
    until(lambda: served.status("/healthz") == 200, 15)


def back(stack: Stack) -> None:
    """Start Redis again on its data."""
    stack.redis.start()
    until(stack.redis_answers)


def test_every_route_says_503_and_when_to_come_back(away: Api) -> None:
    began = time.monotonic()
    problem(away.post("echo", GIVEN), 503, "queue_unavailable")
    problem(away.call("GET", "/v1/jobs/job_" + "0" * 29), 503, "queue_unavailable")
    problem(away.call("GET", "/v1/jobs"), 503, "queue_unavailable")
    problem(away.call("POST", f"/v1/jobs/job_{'0' * 29}/cancel"), 503, "queue_unavailable")
    assert away.status("/healthz") == 503
    assert away.status("/livez") == 200
    assert time.monotonic() - began < 10


def test_submits_go_through_again_once_it_is_back(stack: Stack, away: Api) -> None:
    problem(away.post("echo", GIVEN), 503, "queue_unavailable")
    back(stack)
    until(lambda: away.post("echo", GIVEN).status_code == 202, 10)
    assert away.run("echo", GIVEN)["output"] == GIVEN


def test_a_held_wait_outlives_an_outage(stack: Stack, served: Api, tmp_path: Path) -> None:
    gate, sent = tmp_path / "gate", threading.Event()
    job = served.submit("actor", {"gate": str(gate)})["id"]
    served.reaches(job, "running")
    with ThreadPoolExecutor(1) as pool:
        held = pool.submit(sends, served, job, sent)
        assert sent.wait(20)
        # What is asked after it is answered after it was heard.
        assert served.get(job)["status"] == "running"
        stack.redis.kill()
        time.sleep(0.5)
        back(stack)
        gate.touch()
        answer = held.result(30)
    # Held to the end, or told that the queue is away: never a wrong state.
    assert answer.status_code in (200, 503)
    assert served.finished(job)["status"] == "succeeded"


def test_a_result_made_while_it_is_away_is_stored_when_it_is_back(
    stack: Stack, served: Api, tmp_path: Path
) -> None:
    gate, journal = tmp_path / "gate", tmp_path / "journal"
    given = {"name": "kept", "gate": str(gate), "journal": str(journal)}
    job = served.submit("actor", given)["id"]
    # It is called running a little before.
    until(journal.exists, what="the engine has begun")
    stack.redis.kill()
    gate.touch()
    until(lambda: "end kept" in journal.read_text(), 20, "its result is made")
    time.sleep(0.5)
    back(stack)
    ended = served.finished(job, 20)
    assert (ended["status"], ended["attempt"], ended["output"]["name"]) == ("succeeded", 1, "kept")
