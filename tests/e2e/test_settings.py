"""Settings change what the contract says they change, and wrong ones are refused by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.chaos.stack import Api, Stack, until

from .folders import EXAMPLES, MODELS
from .held import held
from .problems import job_error, problem

GIVEN = {"message": "x"}
TIGHT = {"result_ttl_s": "2", "dead_ttl_s": "3", "max_queue_age_s": "2", "max_queue_depth": "5"}


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A Redis for this module; its processes keep jobs for seconds only."""
    with Stack(**TIGHT) as started:
        yield started


@pytest.fixture(scope="module")
def tight(stack: Stack) -> Api:
    """An API with small limits and the models echo and actor."""
    api = stack.api(max_body_bytes="300000", max_wait_s="1", cors_origins="https://app.example")
    stack.worker(EXAMPLES / "echo", max_result_bytes="1000")
    stack.worker(MODELS / "actor")
    api.ready("echo", "actor")
    return api


def status(api: Api, job_id: str) -> int:
    return api.status(f"/v1/jobs/{job_id}")


def test_a_finished_job_is_forgotten_and_so_is_its_key(tight: Api) -> None:
    header = {"Idempotency-Key": "forgotten", "Prefer": "wait"}
    first = tight.post("echo", GIVEN, headers=header).json()
    assert first["status"] == "succeeded"
    until(lambda: status(tight, first["id"]) == 404, 6)
    listed = tight.call("GET", "/v1/jobs", params={"model": "echo"}).json()["data"]
    assert first["id"] not in [job["id"] for job in listed]
    assert tight.post("echo", GIVEN, headers=header).json()["id"] != first["id"]


def test_a_failed_job_is_kept_longer(tight: Api) -> None:
    done = tight.run("echo", GIVEN)
    failed = tight.run("actor", {"do": "raise"})
    until(lambda: status(tight, done["id"]) == 404, 6)
    assert failed["retained_until"] > done["retained_until"]
    until(lambda: status(tight, failed["id"]) == 404, 6)


def test_a_result_over_the_limit_fails_and_says_so(tight: Api) -> None:
    job = tight.run("echo", {"message": "x" * 2000})
    job_error(job, "result_too_large", retryable=False)


def test_the_size_of_a_body_is_a_setting(tight: Api) -> None:
    problem(tight.post("echo", {"message": "x" * 400_000}), 413, "payload_too_large")


def test_a_wait_is_cut_to_the_longest_allowed(tight: Api, tmp_path: Path) -> None:
    with held(tight, tmp_path):
        answer = tight.post("actor", {}, headers={"Prefer": "wait=30"})
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "wait=1"
    tight.finished(answer.json()["id"])


def test_an_allowed_origin_may_read(tight: Api) -> None:
    origin = {"Origin": "https://app.example"}
    answer = tight.call("GET", "/v1/models", headers=origin)
    assert answer.headers["access-control-allow-origin"] == "https://app.example"
    preflight = {
        **origin,
        "Access-Control-Request-Method": "POST",
        "Access-Control-Request-Headers": "authorization,idempotency-key",
    }
    answer = tight.call("OPTIONS", "/v1/models/echo/jobs", headers=preflight)
    assert answer.status_code in (200, 204)
    other = tight.call("GET", "/v1/models", headers={"Origin": "https://other.example"})
    assert "access-control-allow-origin" not in other.headers


def test_a_full_queue_refuses_and_an_old_job_expires(stack: Stack, tight: Api) -> None:
    worker = stack.worker(MODELS / "kinds")
    tight.ready("kinds")
    worker.stop()
    # All at once: the first is too old soon.
    body = {"inputs": [{"text": "a"}] * 5}
    queued = tight.call("POST", "/v1/models/kinds/jobs/batch", json=body).json()["jobs"]
    problem(tight.post("kinds", {"text": "a"}), 503, "queue_full")
    ended = tight.finished(queued[0]["id"], 10)
    assert (ended["status"], ended["deadline_at"]) == ("expired", None)
    until(lambda: tight.post("kinds", {"text": "a"}).status_code == 202, 6)


def test_a_model_that_cannot_be_loaded_says_why(stack: Stack, tight: Api) -> None:
    stack.worker(MODELS / "broken")

    def failed() -> bool:
        card = tight.call("GET", "/v1/models/broken")
        return card.status_code == 200 and card.json()["state"] == "failed"

    until(failed, 15)
    assert (
        "weights.safetensors is not there"
        in tight.call("GET", "/v1/models/broken").json()["reason"]
    )
    assert tight.status("/healthz?model=broken") == 503
    assert tight.status("/healthz") == 200


def test_an_unknown_setting_is_refused_by_name(stack: Stack) -> None:
    with pytest.raises(RuntimeError, match=r"HEADRACE_API_WORKERZ.*HEADRACE_API_WORKERS"):
        stack.api(api_workerz="2")


def test_a_required_model_decides_the_health_of_the_api(stack: Stack, tight: Api) -> None:
    api = stack.api(require_models="echo,nothing")
    answer = api.call("GET", "/healthz")
    assert answer.status_code == 503
    assert "nothing" in answer.text
    assert "echo" not in json.dumps(answer.json()["detail"])
