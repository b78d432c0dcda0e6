"""POST /v1/models/{model}/jobs: what is accepted, refused, waited for and repeated."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from jobs.overview import ModelOverview, WorkerInfo

URL = "/v1/models/echo/jobs"
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


async def test_a_submit_answers_202_with_the_job_and_where_it_is(api: Any) -> None:
    answer = await api.client.post(URL, json={"input": {"text": "a"}, "metadata": {"k": "v"}})
    job = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{job['id']}"
    assert answer.headers["vary"] == "Prefer"
    assert "preference-applied" not in answer.headers
    assert (job["status"], job["version"], job["timeout_s"]) == ("queued", "1", 120.0)
    assert job["metadata"] == {"k": "v"}
    stored = await api.get(job)
    assert stored["queue"] == {"ahead": 0, "eta_s": None}
    assert {**stored, "queue": None} == {**job, "queue": None}


async def test_ids_are_taken_returned_and_kept(api: Any) -> None:
    headers = {"x-request-id": "mine-1", "traceparent": TRACE}
    answer = await api.client.post(URL, json={"input": {"text": "a"}}, headers=headers)
    assert answer.headers["x-request-id"] == "mine-1"
    assert answer.headers["traceparent"] == TRACE
    kept = await api.app.front.queue.get(answer.json()["id"], "default")
    assert kept.request_id == "mine-1"
    assert json.loads(kept.extra)["traceparent"] == TRACE


async def test_a_bad_id_is_replaced_and_a_bad_trace_dropped(api: Any) -> None:
    headers = {"x-request-id": "a b", "traceparent": "00-zz"}
    answer = await api.client.get("/livez", headers=headers)
    assert len(answer.headers["x-request-id"]) == 32
    assert "traceparent" not in answer.headers


async def test_options_are_kept(api: Any) -> None:
    job = await api.submit(priority="high", deadline_s=60, timeout_s=5)
    assert (job["priority"], job["timeout_s"]) == ("high", 5.0)
    assert job["deadline_at"] > job["created_at"]
    assert (await api.get(job))["deadline_at"] == job["deadline_at"]


async def test_every_wrong_field_is_named_at_once(api: Any) -> None:
    body = {"input": {"text": 1, "count": "2"}, "priority": "urgent", "extra": 1}
    answer = await api.client.post(URL, json=body)
    problem = answer.json()
    assert answer.status_code == problem["status"] == 422
    assert problem["code"] == "invalid_input"
    assert {tuple(each["loc"]) for each in problem["errors"]} == {
        ("body", "input", "text"),
        ("body", "input", "count"),
        ("body", "priority"),
        ("body", "extra"),
    }


@pytest.mark.parametrize(
    ("content", "code"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b'{"input": {"text": NaN}}', 400),
        (b'{"input": {}, "input": {}}', 400),
        (b"\xff", 400),
        (b'{"input":' + b"[" * 40 + b"]" * 40 + b"}", 400),
        (b"{}", 422),
    ],
)
async def test_what_is_no_strict_json_is_refused(api: Any, content: bytes, code: int) -> None:
    headers = {"content-type": "application/json"}
    answer = await api.client.post(URL, content=content, headers=headers)
    assert answer.status_code == code
    assert answer.headers["content-type"] == "application/problem+json"


@pytest.mark.parametrize("kind", [None, "text/plain", "application/x-www-form-urlencoded"])
async def test_only_json_is_read(api: Any, kind: str | None) -> None:
    headers = {"content-type": kind} if kind else {}
    answer = await api.client.post(URL, content=b'{"input":{"text":"a"}}', headers=headers)
    assert answer.status_code == 415
    assert answer.json()["code"] == "unsupported_media_type"


async def test_a_large_body_is_refused_with_and_without_a_length(opening: Any) -> None:
    async def pieces() -> AsyncIterator[bytes]:
        for _ in range(20):
            yield b" " * 100

    headers = {"content-type": "application/json"}
    async with opening(max_body_bytes=1000) as api:
        await api.publish()
        for content in (b" " * 1001, pieces()):
            answer = await api.client.post(URL, content=content, headers=headers)
            assert answer.status_code == 413
            assert answer.headers["connection"] == "close"
        await api.submit({"text": "x" * 900})


async def test_unknown_models_and_versions_are_404(api: Any) -> None:
    for name, code in (
        ("nope", "model_not_found"),
        ("echo@9", "version_not_found"),
        ("Echo", "model_not_found"),
    ):
        answer = await api.client.post(f"/v1/models/{name}/jobs", json={"input": {"text": "a"}})
        assert (answer.status_code, answer.json()["code"]) == (404, code)


async def test_a_name_can_be_pinned_to_a_version(api: Any) -> None:
    await api.publish(version="2")
    assert (await api.submit())["version"] == "2"
    pinned = await api.client.post("/v1/models/echo@1/jobs", json={"input": {"text": "a"}})
    assert pinned.json()["version"] == "1"
    quoted = await api.client.post("/v1/models/echo%402/jobs", json={"input": {"text": "a"}})
    assert quoted.json()["version"] == "2"


async def test_a_model_published_a_moment_ago_is_found(api: Any) -> None:
    await asyncio.sleep(0.11)
    await api.publish("fresh", refresh=False)
    calls = [
        api.client.post("/v1/models/fresh/jobs", json={"input": {"text": "a"}}) for _ in range(8)
    ]
    assert {answer.status_code for answer in await asyncio.gather(*calls)} == {202}


async def test_prefer_wait_answers_with_the_finished_job(api: Any) -> None:
    worker = await api.worker()
    call = api.client.post(URL, json={"input": {"text": "a"}}, headers={"prefer": "wait=10"})
    waiting = asyncio.create_task(call)
    jobs = await worker.take_soon()
    await worker.end(jobs, payload={"text": "b"})
    answer = await waiting
    job = answer.json()
    assert answer.status_code == 200
    assert answer.headers["preference-applied"] == "wait=10"
    assert (job["status"], job["output"]) == ("succeeded", {"text": "b"})
    assert job["metrics"]["worker"] == "echo-hand"


async def test_a_failed_job_is_an_answer_too(api: Any) -> None:
    worker = await api.worker()
    call = api.client.post(URL, json={"input": {"text": "a"}}, headers={"prefer": "wait"})
    waiting = asyncio.create_task(call)
    jobs = await worker.take_soon()
    await worker.end(jobs, "failed", {"code": "model_error", "detail": "no"})
    answer = await waiting
    assert answer.status_code == 200
    assert answer.json()["error"]["code"] == "model_error"
    assert answer.headers["preference-applied"] == "wait=60"


async def test_when_the_time_is_over_the_answer_is_202(api: Any) -> None:
    answer = await api.client.post(URL, json={"input": {"text": "a"}}, headers={"prefer": "wait=1"})
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "wait=1"
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.json()["status"] == "queued"


async def test_respond_async_does_not_wait(api: Any) -> None:
    headers = {"prefer": "respond-async"}
    answer = await api.client.post(URL, json={"input": {"text": "a"}}, headers=headers)
    assert answer.status_code == 202
    assert answer.headers["preference-applied"] == "respond-async"


async def test_the_longest_wait_is_a_setting(opening: Any) -> None:
    async with opening(max_wait_s=0.1) as api:
        await api.publish()
        answer = await api.client.post(
            URL, json={"input": {"text": "a"}}, headers={"prefer": "wait=50"}
        )
        assert answer.headers["preference-applied"] == "wait=0.1"


async def test_the_same_key_gets_the_same_job_in_either_spelling(api: Any) -> None:
    bodies = [b'{"input":{"text":"a","count":2}}', b'{ "input": {"count": 2, "text": "a"} }']
    answers = [
        await api.client.post(
            URL, content=body, headers={"content-type": "application/json", "idempotency-key": key}
        )
        for body, key in zip(bodies, ("k-1", '"k-1"'), strict=True)
    ]
    assert answers[0].json()["id"] == answers[1].json()["id"]
    assert [each.headers.get("idempotent-replayed") for each in answers] == [None, "true"]
    assert [each.status_code for each in answers] == [202, 202]


async def test_forty_at_once_with_one_key_are_one_job(api: Any) -> None:
    headers = {"idempotency-key": "k"}
    calls = [
        api.client.post(URL, json={"input": {"text": "a"}}, headers=headers) for _ in range(40)
    ]
    answers = await asyncio.gather(*calls)
    assert len({each.json()["id"] for each in answers}) == 1
    assert sum("idempotent-replayed" in each.headers for each in answers) == 39


async def test_the_same_key_for_another_request_conflicts(api: Any) -> None:
    headers = {"idempotency-key": "k"}
    job = (await api.client.post(URL, json={"input": {"text": "a"}}, headers=headers)).json()
    others = [
        api.client.post(URL, json={"input": {"text": "b"}}, headers=headers),
        api.client.post("/v1/models/echo@1/jobs", json={"input": {"text": "a"}}, headers=headers),
        api.client.post(f"{URL}/batch", json={"inputs": [{"text": "a"}]}, headers=headers),
    ]
    for answer in await asyncio.gather(*others):
        assert (answer.status_code, answer.json()["code"]) == (422, "idempotency_conflict")
    await api.client.post(f"/v1/jobs/{job['id']}/cancel")
    again = await api.client.post(f"/v1/jobs/{job['id']}/retry", headers=headers)
    assert again.json()["code"] == "idempotency_conflict"


async def test_a_repeat_with_wait_waits_for_the_first(api: Any) -> None:
    worker = await api.worker()
    headers = {"idempotency-key": "k", "prefer": "wait=10"}
    calls = [api.client.post(URL, json={"input": {"text": "a"}}, headers=headers) for _ in "ab"]
    waiting = asyncio.gather(*calls)
    jobs = await worker.take_soon()
    await worker.end(jobs)
    answers = await waiting
    assert [each.status_code for each in answers] == [200, 200]
    assert len({each.json()["id"] for each in answers}) == 1


async def test_a_full_queue_says_when_to_come_back(opening: Any) -> None:
    async with opening(max_queue_depth=2) as api:
        await api.publish()
        headers = {"idempotency-key": "k"}
        first = await api.client.post(URL, json={"input": {"text": "a"}}, headers=headers)
        await api.submit()
        answer = await api.client.post(URL, json={"input": {"text": "a"}})
        assert (answer.status_code, answer.json()["code"]) == (503, "queue_full")
        assert answer.json()["retryable"] is True
        assert int(answer.headers["retry-after"]) >= 1
        again = await api.client.post(URL, json={"input": {"text": "a"}}, headers=headers)
        assert again.json()["id"] == first.json()["id"]


def busy(backlog_s: float, ready: int = 1) -> ModelOverview:
    workers = [WorkerInfo("w", "w:1", "1", "ready", "", "cpu", 0)] * ready
    return ModelOverview(int(backlog_s), 0, 1.0, 0.0, workers)


async def test_a_deadline_behind_the_backlog_is_unreachable(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(api.app.front.loads, "known", lambda model: busy(100))
    body = {"input": {"text": "a"}, "deadline_s": 10}
    headers = {"idempotency-key": "k"}
    answer = await api.client.post(URL, json=body, headers=headers)
    assert (answer.status_code, answer.json()["code"]) == (422, "deadline_unreachable")
    assert "100.0 s" in answer.json()["detail"]
    high = await api.client.post(URL, json={**body, "priority": "high"})
    late = await api.client.post(URL, json={**body, "deadline_s": 200})
    assert (high.status_code, late.status_code) == (202, 202)
    monkeypatch.setattr(api.app.front.loads, "known", lambda model: busy(100, ready=0))
    cold = await api.client.post(URL, json=body, headers=headers)
    assert cold.status_code == 202
    monkeypatch.setattr(api.app.front.loads, "known", lambda model: busy(100))
    repeat = await api.client.post(URL, json=body, headers=headers)
    assert repeat.json()["id"] == cold.json()["id"]
