"""Models, health, documents, metrics, CORS, and errors nobody foresaw."""

from __future__ import annotations

import asyncio
from typing import Any

import httpx
import pytest
import structlog
from structlog.testing import capture_logs


async def beat(worker: Any, state: str, reason: str = "", **stats: str) -> None:
    await worker.queue.beat([], state=state, reason=reason, stats=stats)


async def test_a_model_without_a_worker_is_cold_and_says_so(api: Any) -> None:
    card = (await api.client.get("/v1/models/echo")).json()
    assert (card["name"], card["version"], card["versions"]) == ("echo", "1", ["1"])
    assert card["state"] == "cold"
    assert "accepted" in card["reason"]
    assert card["input_schema"]["required"] == ["text"]
    assert card["example"] == {"text": "hello"}
    assert card["limits"]["timeout_s"] == 120
    assert card["workers"] == []
    assert card["queue"]["queued"] == 0


async def test_a_models_state_is_what_its_workers_say(api: Any) -> None:
    worker = await api.worker()
    for state, shown in (("loading", "loading"), ("ready", "ready"), ("failed", "failed")):
        await beat(worker, state, f"because {state}")
        card = (await api.client.get("/v1/models/echo")).json()
        assert (card["state"], card["reason"]) == (shown, f"because {state}")
    assert card["workers"][0]["name"] == "echo-hand"
    assert card["workers"][0]["device"] == "cpu"


async def test_a_pinned_card_is_that_versions(api: Any) -> None:
    await api.publish(version="2")
    await api.worker(version="1")
    new, old = [(await api.client.get(f"/v1/models/echo{pin}")).json() for pin in ("", "@1")]
    assert (new["version"], new["state"], new["versions"]) == ("2", "cold", ["1", "2"])
    assert (old["version"], old["state"]) == ("1", "ready")


async def test_all_models_are_listed(api: Any) -> None:
    await api.publish("other")
    listed = (await api.client.get("/v1/models")).json()["data"]
    assert [card["name"] for card in listed] == ["echo", "other"]


async def test_an_autoscaler_gets_its_figures(api: Any) -> None:
    scale = "/v1/models/echo/scale"
    assert (await api.client.get(scale)).json() == {
        "queued": 0,
        "running": 0,
        "workers_ready": 0,
        "backlog_seconds": 0,
        "wanted": 0,
    }
    for _ in range(3):
        await api.submit()
    cold = (await api.client.get(scale)).json()
    assert (cold["queued"], cold["workers_ready"], cold["wanted"]) == (3, 0, 1)
    worker = await api.worker()
    await beat(worker, "ready", seconds_per_job="60")
    await worker.take()
    busy = (await api.client.get(scale)).json()
    assert (busy["queued"], busy["running"], busy["workers_ready"]) == (2, 1, 1)
    assert busy["wanted"] >= 1


async def test_a_worker_at_work_is_wanted_although_little_waits(api: Any) -> None:
    workers = [await api.worker(), await api.worker(name="second")]
    for worker in workers:
        await api.submit()
        await worker.take()
        await beat(worker, "ready", seconds_per_job="0.01")
    await api.submit()
    scale = "/v1/models/echo/scale"
    assert (await api.client.get(scale)).json()["wanted"] == 2
    await beat(workers[0], "draining")
    assert (await api.client.get(scale)).json()["wanted"] == 1


async def test_unknown_models_are_404(api: Any) -> None:
    for path in ("/v1/models/nope", "/v1/models/nope/scale"):
        answer = await api.client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, "model_not_found")


async def test_health_follows_the_worker_that_is_asked_for(api: Any) -> None:
    assert (await api.client.get("/healthz")).json()["status"] == "ok"
    cold = await api.client.get("/healthz?model=echo")
    assert (cold.status_code, cold.json()["code"]) == (503, "not_ready")
    assert int(cold.headers["retry-after"]) >= 1
    worker = await api.worker()
    await beat(worker, "ready")
    assert (await api.client.get("/healthz?model=echo")).json()["ready_workers"] == {"echo": 1}
    assert (await api.client.get("/healthz?model=echo@1")).status_code == 200
    assert (await api.client.get("/healthz?model=nope")).status_code == 503
    await beat(worker, "unready", "the GPU hangs")
    assert (await api.client.get("/healthz?model=echo")).status_code == 503


async def test_required_models_are_part_of_health(opening: Any) -> None:
    async with opening(require_models=("echo",)) as api:
        await api.publish()
        await asyncio.sleep(0.05)
        assert (await api.client.get("/healthz")).status_code == 503
        await beat(await api.worker(), "ready")
        await api.until("/healthz", 200)


async def test_a_draining_process_says_so_and_lets_waits_go(api: Any) -> None:
    job = await api.submit()
    waiting = asyncio.create_task(api.client.get(f"/v1/jobs/{job['id']}?wait=30"))
    headers = {"prefer": "wait=30"}
    submitting = asyncio.create_task(
        api.client.post("/v1/models/echo/jobs", json={"input": {"text": "b"}}, headers=headers)
    )
    await asyncio.sleep(0.2)
    api.app.drain()
    async with asyncio.timeout(2):
        read, accepted = await waiting, await submitting
    assert (read.status_code, read.json()["status"]) == (200, "queued")
    assert (accepted.status_code, accepted.json()["status"]) == (202, "queued")
    for path in ("/livez", "/healthz"):
        answer = await api.client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (503, "draining")


async def test_a_dead_background_task_ends_liveness(api: Any) -> None:
    api.app.front.broken.append("sweep")
    answer = await api.client.get("/livez")
    assert (answer.status_code, answer.json()["code"]) == (503, "not_ready")


async def test_openapi_follows_the_models_that_come(api: Any) -> None:
    paths = (await api.client.get("/openapi.json")).json()["paths"]
    assert "/v1/models/echo/jobs" in paths
    assert "/v1/models/other/jobs" not in paths
    await api.publish("other")
    paths = (await api.client.get("/openapi.json")).json()["paths"]
    assert "/v1/models/other/jobs" in paths
    assert "text/html" in (await api.client.get("/docs")).headers["content-type"]


@pytest.mark.parametrize(
    ("method", "path", "status", "code"),
    [
        ("GET", "/", 404, "not_found"),
        ("GET", "/v1/jobs/", 404, "not_found"),
        ("GET", "/v2/anything", 404, "not_found"),
        ("PUT", "/v1/jobs", 405, "method_not_allowed"),
        ("GET", "/v1/models/echo/jobs", 405, "method_not_allowed"),
    ],
)
async def test_every_error_is_a_problem(
    api: Any, method: str, path: str, status: int, code: str
) -> None:
    answer = await api.client.request(method, path)
    assert (answer.status_code, answer.json()["code"]) == (status, code)
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert ("allow" in answer.headers) == (status == 405)


async def test_an_unforeseen_error_is_a_500_that_says_nothing(
    api: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def broken(*_: Any) -> None:
        raise ZeroDivisionError("the secret")

    monkeypatch.setattr(api.app.front.queue, "get", broken)
    answer = await api.client.get("/v1/jobs/x")
    assert (answer.status_code, answer.json()["code"]) == (500, "internal_error")
    assert "secret" not in answer.text


async def test_at_debug_each_request_is_logged_with_its_ids(opening: Any, api: Any) -> None:
    # Whatever level a test before this one has set for the process.
    structlog.reset_defaults()
    headers = {"x-request-id": "seen-1"}
    async with opening(log_level="debug") as talkative:
        with capture_logs() as lines:
            await talkative.client.get("/livez", headers=headers)
            await api.client.get("/livez", headers=headers)
    (line,) = [each for each in lines if each.get("request_id") == "seen-1"]
    assert (line["event"], line["path"], line["status"]) == ("request", "/livez", 200)


async def test_browsers_are_let_in_only_where_told(api: Any, opening: Any) -> None:
    asked = {"origin": "https://a.example", "access-control-request-method": "POST"}
    refused = await api.client.options("/v1/jobs", headers=asked)
    assert refused.status_code == 405
    plain = await api.client.get("/v1/jobs", headers=asked)
    assert "access-control-allow-origin" not in plain.headers
    async with opening(cors_origins=("https://a.example",)) as open_api:
        allowed = await open_api.client.options("/v1/jobs", headers=asked)
        assert allowed.headers["access-control-allow-origin"] == "https://a.example"
        answer = await open_api.client.get("/v1/jobs/x", headers=asked)
        assert answer.status_code == 404
        assert answer.headers["access-control-allow-origin"] == "https://a.example"
        assert "Retry-After" in answer.headers["access-control-expose-headers"]
        other = {**asked, "origin": "https://b.example"}
        answer = await open_api.client.get("/v1/jobs", headers=other)
        assert "access-control-allow-origin" not in answer.headers


async def test_metrics_count_requests_and_show_the_queue(opening: Any) -> None:
    async with opening(metrics_port=0) as api:
        await api.publish()
        await api.submit(priority="low")
        await api.client.get("/nowhere/at/all")
        port = api.app.metrics_port
        async with httpx.AsyncClient() as client:
            text = (await client.get(f"http://127.0.0.1:{port}/metrics")).text
    assert 'headrace_jobs_submitted_total{model="echo",priority="low"} 1.0' in text
    route = 'method="POST",route="/v1/models/{model}/jobs",status="202"'
    assert f"headrace_http_requests_total{{{route}}} 1.0" in text
    assert 'route="unmatched",status="404"' in text
    assert 'headrace_jobs_queued{model="echo"} 1.0' in text
    assert "headrace_redis_up 1.0" in text


async def test_while_redis_is_away_requests_say_when_to_come_back(
    opening: Any, own_redis: Any
) -> None:
    async with opening(own_redis.url) as api:
        await api.publish()
        job = await api.submit()
        own_redis.kill()
        calls = [
            api.client.post("/v1/models/echo/jobs", json={"input": {"text": "a"}}),
            api.client.get(f"/v1/jobs/{job['id']}"),
            api.client.get("/v1/jobs"),
            api.client.get("/healthz"),
        ]
        for answer in await asyncio.gather(*calls):
            assert (answer.status_code, answer.json()["code"]) == (503, "queue_unavailable")
            assert 1 <= int(answer.headers["retry-after"]) <= 10
        assert (await api.client.get("/livez")).status_code == 200
        own_redis.start()
        await api.until("/healthz", 200)
        assert (await api.get(job))["status"] == "queued"
        await api.submit()


async def test_a_redis_that_comes_late_is_found(opening: Any, own_redis: Any) -> None:
    own_redis.kill()
    async with opening(own_redis.url) as api:
        answer = await api.client.get("/v1/jobs")
        assert (answer.status_code, answer.json()["code"]) == (503, "queue_unavailable")
        own_redis.start()
        await api.until("/healthz", 200)
        assert (await api.client.get("/v1/jobs")).status_code == 200


async def test_expired_jobs_end_although_no_worker_lives(api: Any) -> None:
    job = await api.submit(deadline_s=0.2)
    answer = await api.client.get(f"/v1/jobs/{job['id']}?wait=20")
    assert (answer.json()["status"], answer.json()["error"]["code"]) == ("expired", "expired")
