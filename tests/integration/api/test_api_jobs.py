"""/v1/jobs and /v1/batches: read, wait, list, cancel, retry, delete."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from jobs.ids import new_batch_id, new_job_id

NOBODYS = new_job_id(1)


async def test_a_job_is_read_with_when_to_ask_again(api: Any) -> None:
    job = await api.submit()
    answer = await api.client.get(f"/v1/jobs/{job['id']}")
    assert answer.status_code == 200
    assert int(answer.headers["retry-after"]) >= 1
    assert answer.headers["vary"] == "Prefer"
    await (await api.worker()).run()
    answer = await api.client.get(f"/v1/jobs/{job['id']}")
    assert "retry-after" not in answer.headers
    body = answer.json()
    assert (body["status"], body["output"], body["input"]) == ("succeeded", {"done": True}, None)
    assert body["retained_until"] > body["finished_at"] >= body["started_at"]


@pytest.mark.parametrize(
    ("query", "headers", "applied"),
    [
        ("?wait=10", {}, None),
        ("", {"prefer": "wait=10"}, "wait=10"),
        ("", {"prefer": "wait"}, "wait=60"),
    ],
)
async def test_a_read_can_wait_for_the_end(
    api: Any, query: str, headers: dict[str, str], applied: str | None
) -> None:
    job = await api.submit()
    worker = await api.worker()
    waiting = asyncio.create_task(api.client.get(f"/v1/jobs/{job['id']}{query}", headers=headers))
    await asyncio.sleep(0.1)
    assert not waiting.done()
    await worker.run()
    answer = await waiting
    assert answer.json()["status"] == "succeeded"
    assert answer.headers.get("preference-applied") == applied


async def test_a_wait_that_ends_early_shows_the_job_as_it_is(api: Any) -> None:
    job = await api.submit()
    answer = await api.client.get(f"/v1/jobs/{job['id']}?wait=0.05")
    assert (answer.status_code, answer.json()["status"]) == (200, "queued")


@pytest.mark.parametrize("wait", ["-1", "abc", "", "nan", "inf"])
async def test_a_wrong_wait_is_refused(api: Any, wait: str) -> None:
    answer = await api.client.get(f"/v1/jobs/{NOBODYS}?wait={wait}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["query", "wait"]


@pytest.mark.parametrize("identifier", [NOBODYS, "job_x", "bat_x", "x" * 300, "job_" + "v" * 29])
async def test_what_is_not_there_is_404(api: Any, identifier: str) -> None:
    for method, path in (
        ("GET", ""),
        ("GET", "?wait=1"),
        ("POST", "/cancel"),
        ("POST", "/retry"),
        ("DELETE", ""),
    ):
        answer = await api.client.request(method, f"/v1/jobs/{identifier}{path}")
        assert (answer.status_code, answer.json()["code"]) == (404, "no_such_job")
    for batch in (new_batch_id(1), "bat_x", NOBODYS):
        answer = await api.client.get(f"/v1/batches/{batch}")
        assert (answer.status_code, answer.json()["code"]) == (404, "no_such_batch")


async def test_a_queued_job_is_canceled_at_once_and_twice_is_no_error(api: Any) -> None:
    job = await api.submit()
    for _ in "ab":
        answer = await api.client.post(f"/v1/jobs/{job['id']}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "canceled")
    assert answer.json()["error"]["code"] == "canceled"


async def test_a_running_job_is_canceling_until_its_worker_lets_go(api: Any) -> None:
    job = await api.submit()
    worker = await api.worker()
    claimed = await worker.take()
    for _ in "ab":
        answer = await api.client.post(f"/v1/jobs/{job['id']}/cancel")
        assert (answer.status_code, answer.json()["status"]) == (200, "canceling")
    await worker.end(claimed)
    assert (await api.get(job))["status"] == "canceled"


async def test_a_finished_job_cannot_be_canceled(api: Any) -> None:
    job = await api.submit()
    await (await api.worker()).run()
    answer = await api.client.post(f"/v1/jobs/{job['id']}/cancel")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_cancelable")


async def test_only_a_final_job_is_deleted(api: Any) -> None:
    job = await api.submit()
    answer = await api.client.delete(f"/v1/jobs/{job['id']}")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_cancelable")
    await (await api.worker()).run()
    answer = await api.client.delete(f"/v1/jobs/{job['id']}")
    assert (answer.status_code, answer.content) == (204, b"")
    assert (await api.client.get(f"/v1/jobs/{job['id']}")).status_code == 404


async def failed(api: Any, **options: Any) -> dict[str, Any]:
    job = await api.submit(**options)
    error = {"code": "model_error", "detail": "no", "retryable": False}
    await (await api.worker()).run("failed", error)
    found: dict[str, Any] = await api.get(job)
    assert found["status"] == "failed"
    return found


async def test_a_retry_is_a_new_job_of_the_version_in_production(api: Any) -> None:
    old = await failed(api, priority="high", metadata={"a": "b"}, timeout_s=9, deadline_s=50)
    await api.publish(version="2")
    answer = await api.client.post(f"/v1/jobs/{old['id']}/retry")
    new = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/jobs/{new['id']}"
    assert (new["retry_of"], new["version"], new["status"]) == (old["id"], "2", "queued")
    for field in ("input", "priority", "metadata", "timeout_s", "model"):
        assert new[field] == old[field]
    assert new["deadline_at"] > old["deadline_at"]
    assert (await api.get(old))["status"] == "failed"


async def test_a_retry_is_repeated_by_its_key(api: Any) -> None:
    old = await failed(api)
    headers = {"idempotency-key": "again"}
    first, second = [
        await api.client.post(f"/v1/jobs/{old['id']}/retry", headers=headers) for _ in "ab"
    ]
    assert first.json()["id"] == second.json()["id"]
    assert second.headers["idempotent-replayed"] == "true"


async def test_what_succeeded_or_has_not_ended_is_not_retried(api: Any) -> None:
    job = await api.submit()
    answer = await api.client.post(f"/v1/jobs/{job['id']}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_retryable")
    assert answer.json()["job_id"] == job["id"]
    await (await api.worker()).run()
    answer = await api.client.post(f"/v1/jobs/{job['id']}/retry")
    assert (answer.status_code, answer.json()["code"]) == (409, "not_retryable")


async def test_an_input_that_no_longer_fits_is_not_retried(api: Any) -> None:
    old = await failed(api)
    schema = {"type": "object", "properties": {"n": {"type": "integer"}}, "required": ["n"]}
    await api.publish(version="2", input_schema=schema)
    answer = await api.client.post(f"/v1/jobs/{old['id']}/retry")
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")


async def test_a_list_is_newest_first_and_pages_by_cursor(api: Any) -> None:
    made = [(await api.submit({"text": str(n)}))["id"] for n in range(7)]
    seen: list[str] = []
    cursor = ""
    while True:
        page = (await api.client.get(f"/v1/jobs?limit=3{cursor}")).json()
        seen += [job["id"] for job in page["data"]]
        if len(seen) < 7:
            await api.submit()
        if page["next_cursor"] is None:
            break
        cursor = f"&cursor={page['next_cursor']}"
    assert seen == made[::-1]


async def test_a_list_is_filtered(api: Any) -> None:
    await api.publish("other")
    first = await api.submit()
    await (await api.worker()).run()
    second = await api.submit()
    third = (await api.client.post("/v1/models/other/jobs", json={"input": {"text": "a"}})).json()

    async def ids(query: str) -> list[str]:
        answer = await api.client.get(f"/v1/jobs?{query}")
        return [job["id"] for job in answer.json()["data"]]

    assert await ids("status=succeeded") == [first["id"]]
    assert await ids("model=other") == [third["id"]]
    assert await ids("model=nope") == []
    assert await ids(f"ids={first['id']},{second['id']},{NOBODYS}") == [first["id"], second["id"]]
    assert await ids("model=echo&status=queued") == [second["id"]]
    assert await ids("") == [third["id"], second["id"], first["id"]]


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("limit=0", "limit"),
        ("limit=201", "limit"),
        ("limit=x", "limit"),
        ("status=done", "status"),
        ("ids=" + ",".join(f"job_{n}" for n in range(201)), "ids"),
    ],
)
async def test_a_wrong_filter_is_named(api: Any, query: str, field: str) -> None:
    answer = await api.client.get(f"/v1/jobs?{query}")
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["query", field]


async def test_a_cursor_that_no_list_gave_is_refused(api: Any) -> None:
    answer = await api.client.get("/v1/jobs?cursor=abc")
    assert answer.status_code in (400, 422)


async def test_a_batch_is_taken_in_order_and_counted(api: Any) -> None:
    inputs = [{"text": str(n)} for n in range(5)]
    answer = await api.client.post(
        "/v1/models/echo/jobs/batch", json={"inputs": inputs, "priority": "low"}
    )
    body = answer.json()
    assert answer.status_code == 202
    assert answer.headers["location"] == f"/v1/batches/{body['batch']}"
    assert [job["input"] for job in body["jobs"]] == inputs
    assert {job["batch"] for job in body["jobs"]} == {body["batch"]}
    await (await api.worker()).run(count=2)
    batch = (await api.client.get(f"/v1/batches/{body['batch']}")).json()
    assert (batch["total"], batch["counts"]["succeeded"], batch["counts"]["queued"]) == (5, 2, 3)
    assert batch["finished_at"] is None
    await (await api.worker()).run(count=3)
    batch = (await api.client.get(f"/v1/batches/{body['batch']}")).json()
    assert batch["finished_at"] is not None
    listed = (await api.client.get(f"/v1/jobs?batch={body['batch']}")).json()["data"]
    assert len(listed) == 5


async def test_one_wrong_input_refuses_the_whole_batch(api: Any) -> None:
    inputs = [{"text": "a"}, {"text": 1}, {"text": "b"}, {}]
    answer = await api.client.post("/v1/models/echo/jobs/batch", json={"inputs": inputs})
    assert answer.status_code == 422
    assert [each["loc"] for each in answer.json()["errors"]] == [
        ["body", "inputs", 1, "text"],
        ["body", "inputs", 3, "text"],
    ]
    assert (await api.client.get("/v1/jobs")).json()["data"] == []


@pytest.mark.parametrize("count", [0, 1001])
async def test_a_batch_has_bounds(api: Any, count: int) -> None:
    body = {"inputs": [{"text": "a"}] * count}
    answer = await api.client.post("/v1/models/echo/jobs/batch", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", "inputs"]


async def test_a_batch_is_repeated_by_its_key(api: Any) -> None:
    headers = {"idempotency-key": "b"}
    body = {"inputs": [{"text": "a"}, {"text": "b"}]}
    first, second = [
        await api.client.post("/v1/models/echo/jobs/batch", json=body, headers=headers)
        for _ in "ab"
    ]
    assert first.json()["batch"] == second.json()["batch"]
    assert [job["id"] for job in first.json()["jobs"]] == [
        job["id"] for job in second.json()["jobs"]
    ]
    assert second.headers["idempotent-replayed"] == "true"


async def test_a_batch_that_does_not_fit_the_queue_is_refused_whole(opening: Any) -> None:
    async with opening(max_queue_depth=2) as api:
        await api.publish()
        body = {"inputs": [{"text": "a"}] * 3}
        answer = await api.client.post("/v1/models/echo/jobs/batch", json=body)
        assert (answer.status_code, answer.json()["code"]) == (503, "queue_full")
        assert (await api.client.get("/v1/jobs")).json()["data"] == []
