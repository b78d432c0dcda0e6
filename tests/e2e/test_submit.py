"""Submitting a job and getting what became of it."""

from __future__ import annotations

import re
import time
from pathlib import Path
from statistics import median

import pytest

from headrace.chaos.stack import Api

from .held import blocked, held
from .problems import job_error

JOB_ID = re.compile(r"job_[0-9a-v]{29}")
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")
FIELDS = set(
    [
        "id",
        "model",
        "version",
        "status",
        "input",
        "output",
        "error",
        "priority",
        "attempt",
        "crashes",
        "progress",
        "queue",
        "created_at",
        "started_at",
        "finished_at",
        "deadline_at",
        "retained_until",
        "timeout_s",
        "metrics",
        "webhook",
        "metadata",
        "retry_of",
        "batch",
        "links",
    ]
)
GIVEN = {"message": "hello"}


def test_an_accepted_job_is_answered_whole(api: Api) -> None:
    answer = api.post("echo", GIVEN)
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}" == job["links"]["self"]
    assert JOB_ID.fullmatch(job["id"])
    assert set(job) >= FIELDS
    assert (job["model"], job["version"], job["status"]) == ("echo", "1", "queued")
    assert (job["input"], job["output"], job["error"]) == (GIVEN, None, None)
    assert job["priority"] == "normal"
    assert TIME.fullmatch(job["created_at"])
    assert set(job["queue"]) == {"ahead", "eta_s"}
    assert job["links"]["cancel"] == f"/v1/jobs/{job['id']}/cancel"


def test_a_finished_job_tells_its_story(api: Api) -> None:
    job = api.run("actor", {"seconds": 0.2, "name": "a"})
    assert (job["status"], job["output"]) == ("succeeded", {"name": "a", "value": 0.0})
    assert job["input"] is None  # kept until success
    assert job["created_at"] <= job["started_at"] <= job["finished_at"] < job["retained_until"]
    assert (job["attempt"], job["crashes"], job["queue"]) == (1, 0, None)
    assert 0.15 < job["metrics"]["run_s"] < 2
    assert job["metrics"]["queue_s"] >= 0
    assert job["metrics"]["batch_size"] == 1
    assert job["metrics"]["worker"]


def test_options_come_back(api: Api) -> None:
    options = {"priority": "high", "deadline_s": 60, "timeout_s": 7.5, "metadata": {"user": "u1"}}
    job = api.submit("echo", GIVEN, **options)
    assert (job["priority"], job["timeout_s"]) == ("high", 7.5)
    assert job["metadata"] == {"user": "u1"}
    assert TIME.fullmatch(job["deadline_at"])
    assert api.finished(job["id"])["metadata"] == {"user": "u1"}


@pytest.mark.parametrize("message", [None, True, -1.5, 2**53, "äöü \u2028 💧", [], {}, {"a": [{}]}])
def test_json_goes_through_unharmed(api: Api, message: object) -> None:
    assert api.run("echo", {"message": message})["output"] == {"message": message}


def test_an_output_of_many_kilobytes(api: Api) -> None:
    message = "x" * 200_000
    assert api.run("echo", {"message": message})["output"] == {"message": message}


@pytest.mark.parametrize(
    ("preference", "applied"),
    [("wait", "wait=60"), ("wait=5", "wait=5"), ("wait=900", "wait=60"), ("Wait=2", "wait=2")],
)
def test_prefer_wait_answers_with_the_outcome(api: Api, preference: str, applied: str) -> None:
    answer = api.post("echo", GIVEN, headers={"Prefer": preference})
    assert answer.status_code == 200
    assert answer.headers["preference-applied"].replace("=60", "") == applied.replace("=60", "")
    assert (answer.json()["status"], answer.json()["output"]) == ("succeeded", GIVEN)


def test_prefer_wait_answers_202_when_time_is_over(api: Api, tmp_path: Path) -> None:
    taken, answers = [], []
    with blocked(api, tmp_path):
        for _ in range(3):
            began = time.monotonic()
            answers.append(api.post("actor", {}, headers={"Prefer": "wait=1"}))
            taken.append(time.monotonic() - began)
    assert [answer.status_code for answer in answers] == [202] * 3
    assert {answer.json()["status"] for answer in answers} <= {"queued", "running"}
    # The middle one tells: a machine that stands still for a moment adds to one of them.
    assert min(taken) > 0.9
    assert median(taken) < 2
    for answer in answers:
        assert api.finished(answer.json()["id"])["status"] == "succeeded"


def test_prefer_wait_answers_200_with_a_failed_job(api: Api) -> None:
    answer = api.post("actor", {"do": "raise"}, headers={"Prefer": "wait"})
    assert answer.status_code == 200
    assert answer.json()["status"] == "failed"
    job_error(answer.json(), "model_error", retryable=False)


@pytest.mark.parametrize("preference", ["wait=-1", "wait=soon", "respond-async", "handling=strict"])
def test_another_preference_does_not_wait(api: Api, preference: str) -> None:
    answer = api.post("echo", GIVEN, headers={"Prefer": preference})
    assert answer.status_code == 202


def test_reading_waits_until_final(api: Api) -> None:
    job = api.submit("actor", {"seconds": 0.5})
    began = time.monotonic()
    assert api.get(job["id"], wait=10)["status"] == "succeeded"
    assert time.monotonic() - began < 3


def test_reading_with_a_preference_waits_too(api: Api) -> None:
    job = api.submit("actor", {"seconds": 0.3})
    answer = api.call("GET", f"/v1/jobs/{job['id']}", headers={"Prefer": "wait=10"})
    assert answer.json()["status"] == "succeeded"
    assert "retry-after" not in answer.headers


def test_an_unfinished_job_says_when_to_come_back(api: Api, tmp_path: Path) -> None:
    with held(api, tmp_path) as job:
        answer = api.call("GET", f"/v1/jobs/{job}")
    assert answer.status_code == 200
    assert int(answer.headers["retry-after"]) >= 1


def test_a_request_id_is_returned_and_kept_or_made(api: Api) -> None:
    named = api.post("echo", GIVEN, headers={"X-Request-Id": "abc-123"})
    assert named.headers["x-request-id"] == "abc-123"
    made = api.post("echo", GIVEN).headers["x-request-id"]
    assert made
    assert made != "abc-123"


def test_a_dangerous_request_id_is_not_returned(api: Api) -> None:
    sent = "x" * 5000
    assert api.post("echo", GIVEN, headers={"X-Request-Id": sent}).headers["x-request-id"] != sent


def test_a_trace_goes_on(api: Api) -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    sent = f"00-{trace}-00f067aa0ba902b7-01"
    answer = api.post("echo", GIVEN, headers={"traceparent": sent})
    assert answer.headers["traceparent"].split("-")[1] == trace
