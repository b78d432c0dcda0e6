"""Every state a job can end in, reached from outside, and what may be done with it then."""

from __future__ import annotations

import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from headrace.chaos.stack import Api, until

from .held import blocked, held, waits
from .problems import job_error, problem


@pytest.fixture
def journal(tmp_path: Path) -> Path:
    """The file that the actor writes to."""
    return tmp_path / "journal"


def test_a_queued_job_is_canceled_and_never_runs(api: Api, journal: Path) -> None:
    with blocked(api, journal.parent):
        given = {"name": "never", "journal": str(journal)}
        job = api.submit("actor", given)
        answer = api.cancel(job["id"])
        assert answer.status_code == 200
        assert answer.json()["status"] == "canceled"
    api.run("actor", {"name": "next", "journal": str(journal)})
    assert "never" not in journal.read_text()


def test_a_running_job_is_canceling_until_the_engine_is_free(api: Api, journal: Path) -> None:
    given = {"do": "wait_cancel", "seconds": 15, "name": "a", "journal": str(journal)}
    job = api.submit("actor", given)
    until(journal.exists, what="the engine has begun")
    assert api.cancel(job["id"]).json()["status"] in ("canceling", "canceled")
    ended = api.finished(job["id"])
    assert ended["status"] == "canceled"
    job_error(ended, "canceled", retryable=True)
    assert journal.read_text().splitlines()[-1] == "end a"


def test_a_stubborn_job_is_canceling_while_it_runs(api: Api, journal: Path) -> None:
    with held(api, journal.parent, name="a", journal=str(journal)) as job:
        # It is called running a little before.
        until(journal.exists, what="the engine has begun")
        assert api.cancel(job).json()["status"] == "canceling"
        assert api.get(job)["status"] == "canceling"
        assert "end a" not in journal.read_text()
        assert api.cancel(job).status_code == 200  # canceling is fine
    assert api.finished(job)["status"] == "canceled"
    assert api.cancel(job).status_code == 200  # and so is canceled
    api.run("actor", {"name": "b"})


def test_a_finished_job_cannot_be_canceled(api: Api) -> None:
    for given in ({"name": "a"}, {"do": "raise"}):
        job = api.run("actor", given)
        body = problem(api.cancel(job["id"]), 409, "not_cancelable")
        assert body["job_id"] == job["id"]


def test_a_job_that_runs_too_long_is_timed_out(api: Api) -> None:
    job = api.run("actor", {"do": "wait_cancel", "seconds": 15}, timeout_s=1)
    assert job["status"] == "timed_out"
    job_error(job, "timed_out", retryable=True)
    assert job["input"]["seconds"] == 15  # kept where it failed


def test_a_job_that_never_ends_is_timed_out_by_force(api: Api) -> None:
    job = api.submit("actor", {"do": "stop"}, timeout_s=1)
    mate = api.submit("actor", {"name": "mate"})
    assert api.finished(job["id"], 60)["status"] == "timed_out"
    assert api.finished(mate["id"], 60)["status"] == "succeeded"


def test_a_job_that_waits_beyond_its_deadline_expires(api: Api, journal: Path) -> None:
    # Else long jobs of before make a backlog of these few that is refused for its length.
    body = {"inputs": [{}] * 20}
    for quick in api.call("POST", "/v1/models/actor/jobs/batch", json=body).json()["jobs"]:
        api.finished(quick["id"])
    with blocked(api, journal.parent):
        given = {"name": "late", "journal": str(journal)}

        def accepted() -> dict[str, Any] | None:
            # What is known of a backlog may be a second old.
            answer = api.post("actor", given, deadline_s=1)
            return answer.json() if answer.status_code == 202 else None

        job = until(accepted, what="it is let in") or {}
        ended = api.finished(job["id"])
        assert ended["status"] == "expired"
        job_error(ended, "expired", retryable=True)
    api.run("actor", {"name": "next", "journal": str(journal)})
    assert "late" not in journal.read_text()


def test_an_error_of_the_model_is_told_without_its_traceback(api: Api) -> None:
    job = api.run("actor", {"do": "raise"})
    error = job_error(job, "model_error", retryable=False)
    assert error["fault"] == "model"
    assert "told to fail" in error["detail"]
    assert "Traceback" not in str(error)
    assert job["attempt"] == 1


def test_a_retryable_error_is_tried_again(api: Api, journal: Path) -> None:
    job = api.run("actor", {"do": "raise_once", "name": "a", "journal": str(journal)})
    assert (job["status"], job["attempt"]) == ("succeeded", 2)


def test_a_retryable_error_ends_after_three_attempts(api: Api, journal: Path) -> None:
    given = {"do": "raise_retryable", "name": "a", "journal": str(journal)}
    job = api.run("actor", given)
    assert (job["status"], job["attempt"]) == ("failed", 3)
    assert job["error"]["code"] in ("attempts_exhausted", "model_error")
    assert journal.read_text().count("begin a") == 3


def test_not_a_number_in_an_output_is_named_with_its_path(api: Api) -> None:
    job = api.run("actor", {"do": "nan"})
    error = job_error(job, "invalid_output", retryable=False)
    assert "value" in str(error)


def test_a_job_that_kills_its_engine_is_convicted_and_its_neighbours_live(api: Api) -> None:
    killer = api.submit("actor", {"do": "crash"})
    mates = [api.submit("actor", {"name": str(n)}) for n in range(3)]
    ended = api.finished(killer["id"], 90)
    job_error(ended, "poisoned", retryable=False)
    assert ended["crashes"] == 3
    assert {api.finished(mate["id"], 60)["status"] for mate in mates} == {"succeeded"}


@pytest.mark.parametrize("given", [{"do": "raise"}, {"do": "nan"}])
def test_a_failed_job_is_retried_as_a_new_one(api: Api, given: dict[str, str]) -> None:
    failed = api.run("actor", given)
    answer = api.call("POST", f"/v1/jobs/{failed['id']}/retry")
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{answer.json()['id']}"
    assert answer.json()["retry_of"] == failed["id"]
    again = api.finished(answer.json()["id"])
    assert again["input"] == failed["input"]
    assert api.get(failed["id"])["status"] == "failed"


def test_a_canceled_job_may_be_retried(api: Api, tmp_path: Path) -> None:
    with blocked(api, tmp_path):
        job = api.submit("actor", {"name": "again"})
        api.cancel(job["id"])
        assert api.finished(job["id"])["status"] == "canceled"
        again = api.call("POST", f"/v1/jobs/{job['id']}/retry").json()
    assert api.finished(again["id"])["output"]["name"] == "again"


def test_other_jobs_may_not_be_retried(api: Api, tmp_path: Path) -> None:
    done = api.run("echo", {"message": 1})
    problem(api.call("POST", f"/v1/jobs/{done['id']}/retry"), 409, "not_retryable")
    with held(api, tmp_path) as running:
        problem(api.call("POST", f"/v1/jobs/{running}/retry"), 409, "not_retryable")


def test_a_final_job_is_erased(api: Api) -> None:
    job = api.run("echo", {"message": uuid.uuid4().hex})
    assert api.call("DELETE", f"/v1/jobs/{job['id']}").status_code == 204
    problem(api.call("GET", f"/v1/jobs/{job['id']}"), 404, "no_such_job")
    problem(api.call("DELETE", f"/v1/jobs/{job['id']}"), 404, "no_such_job")
    listed = api.call("GET", "/v1/jobs", params={"model": "echo", "limit": 50}).json()["data"]
    assert job["id"] not in [each["id"] for each in listed]


def test_an_unfinished_job_is_not_erased(api: Api, tmp_path: Path) -> None:
    with held(api, tmp_path) as job:
        assert api.call("DELETE", f"/v1/jobs/{job}").status_code == 409
    assert api.finished(job)["status"] == "succeeded"


def test_a_waiting_client_hears_of_a_cancel_at_once(api: Api, tmp_path: Path) -> None:
    taken = []
    with blocked(api, tmp_path), ThreadPoolExecutor(1) as pool:
        for _ in range(3):
            job = api.submit("actor", {"name": "a"})["id"]
            sent = threading.Event()
            waiting = pool.submit(waits, api, job, sent)
            assert sent.wait(20)
            began = time.monotonic()
            api.cancel(job)
            assert waiting.result(20)["status"] == "canceled"
            taken.append(time.monotonic() - began)
    # The middle one tells: a machine that stands still for a moment adds to one of them.
    assert median(taken) < 1
