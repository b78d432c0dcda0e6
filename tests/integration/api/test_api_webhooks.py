"""Webhooks over HTTP: which are taken, what became of them, and sending one again."""

from __future__ import annotations

import json
from typing import Any

import pytest

from jobs.keystore import Role
from jobs.webhook import FINAL_EVENTS, Verdict
from jobs.webhook_secrets import WebhookSecrets
from tests.integration.api.conftest import Api, Opening
from tests.integration.api.sending import SECRET, URL, Sender

JOBS = "/v1/models/echo/jobs"
HOOK = {"url": URL, "secret": SECRET}


def body(webhook: Any = HOOK, **more: Any) -> dict[str, Any]:
    return {"input": {"text": "a"}, "webhook": webhook, **more}


async def finished(api: Api, hook: Any = HOOK) -> str:
    """Return the id of a job that succeeded and has a webhook."""
    job = await api.submit(webhook=hook)
    await (await api.worker()).run()
    return str(job["id"])


async def test_a_job_tells_its_webhook_and_never_the_secret(api: Api) -> None:
    answer = await api.client.post(JOBS, json=body({**HOOK, "events": ["job.failed"] * 2}))
    assert answer.status_code == 202
    job = answer.json()
    assert job["webhook"] == {"url": URL, "events": ["job.failed"]}
    batch = await api.client.post(
        f"{JOBS}/batch", json={"inputs": [{"text": "a"}] * 2, "webhook": HOOK}
    )
    assert {json.dumps(one["webhook"]) for one in batch.json()["jobs"]} == {
        json.dumps({"url": URL, "events": list(FINAL_EVENTS)})
    }
    hand = await api.worker()
    await hand.end(await hand.take_soon(3), "failed", {"code": "model_error"})
    await Sender(api).end(Verdict.FAILED, status=500)
    shown = [answer.text, batch.text]
    for path in (
        *(f"/v1/jobs/{job['id']}", "/v1/jobs", f"/v1/batches/{batch.json()['batch']}"),
        *(f"/v1/jobs/{job['id']}/webhooks", f"/v1/batches/{batch.json()['batch']}/webhooks"),
        *("/v1/admin/dead", f"/v1/admin/dead/{job['id']}", "/v1/admin/dead/webhooks"),
        *("/v1/admin/webhook-endpoints", "/v1/admin/webhook-secrets"),
    ):
        read = await api.client.get(path)
        assert read.status_code == 200, path
        shown.append(read.text)
    shown.append((await api.client.post(f"/v1/jobs/{job['id']}/retry")).text)
    assert [text for text in shown if SECRET in text or "secret" in text] == []


@pytest.mark.parametrize(
    ("webhook", "loc"),
    [
        ({}, ["url"]),
        ({"url": "nonsense", "secret": SECRET}, ["url"]),
        ({"url": URL, "secret": "short"}, ["secret"]),
        ({"url": URL, "secret": SECRET, "events": ["job.born"]}, ["events", 0]),
        ({"url": URL, "secret": SECRET, "method": "PUT"}, ["method"]),
        ("https://example.com", []),
        ({"url": URL}, ["secret"]),
    ],
)
async def test_a_wrong_webhook_is_named(api: Api, webhook: Any, loc: list[Any]) -> None:
    one = {"text": "a"}
    for path, given in ((JOBS, {"input": one}), (f"{JOBS}/batch", {"inputs": [one]})):
        answer = await api.client.post(path, json={**given, "webhook": webhook})
        assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
        assert [error["loc"] for error in answer.json()["errors"]] == [["body", "webhook", *loc]]
    assert (await api.client.get("/v1/jobs")).json()["data"] == []


async def test_without_a_secret_the_answer_says_how_to_make_one(api: Api) -> None:
    answer = await api.client.post(JOBS, json=body({"url": URL}))
    assert "headrace webhooks secret create" in answer.json()["detail"]
    await WebhookSecrets(api.redis).create("default")
    # Known at once: only that there is one is remembered.
    assert (await api.client.post(JOBS, json=body({"url": URL}))).status_code == 202


async def test_a_tenants_secret_is_its_own(api: Api) -> None:
    acme, bolt = await api.key("acme"), await api.key("bolt")
    await WebhookSecrets(api.redis).create("acme")
    statuses = [
        (await api.client.post(JOBS, json=body({"url": URL}), headers=key)).status_code
        for key in (acme, bolt)
    ]
    assert statuses == [202, 422]


async def test_the_secret_of_the_settings_is_for_all(opening: Opening) -> None:
    async with opening(webhook_secret="x" * 20) as api:
        await api.publish()
        assert (await api.client.post(JOBS, json=body({"url": URL}))).status_code == 202


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://93.184.215.14/", "https"),
        ("https://93.184.215.14:8443/", "port"),
        ("https://user:password@93.184.215.14/", "password"),
        ("https://127.0.0.1/", "not public"),
        ("https://[::1]/", "not public"),
        ("https://169.254.169.254/latest/meta-data", "not public"),
        ("https://2130706433/", "decimal"),
        ("https://localhost/", "not public"),
    ],
)
async def test_a_url_that_must_not_be_called(api: Api, url: str, reason: str) -> None:
    answer = await api.client.post(JOBS, json=body({"url": url, "secret": SECRET}))
    problem = answer.json()
    assert (answer.status_code, problem["code"]) == (422, "webhook_url_forbidden")
    assert (problem["retryable"], problem["fault"]) == (False, "client")
    assert reason in problem["detail"]
    [error] = problem["errors"]
    assert error["loc"] == ["body", "webhook", "url"]
    assert "127.0.0.1" not in problem["detail"]
    batch = {"inputs": [{"text": "a"}], "webhook": {"url": url, "secret": SECRET}}
    assert (await api.client.post(f"{JOBS}/batch", json=batch)).json()["code"] == problem["code"]
    assert (await api.client.get("/v1/jobs")).json()["data"] == []


async def test_what_the_settings_allow_and_deny(opening: Opening) -> None:
    settings = {"webhook_allow": ("127.0.0.0/8",), "webhook_deny": ("93.184.215.0/24",)}
    async with opening(**settings) as api:
        await api.publish()
        for url, status in (("http://127.0.0.1:8080/", 202), (URL, 422)):
            given = body({"url": url, "secret": SECRET})
            assert (await api.client.post(JOBS, json=given)).status_code == status


async def test_a_repeat_finds_its_job_although_its_webhook_would_pass_no_more(api: Api) -> None:
    secrets = WebhookSecrets(api.redis)
    await secrets.create("default")
    headers = {"idempotency-key": "k"}
    first = await api.client.post(JOBS, json=body({"url": URL}), headers=headers)
    await api.client.delete("/v1/admin/webhook-secrets/default")
    again = await api.client.post(JOBS, json=body({"url": URL}), headers=headers)
    assert again.json()["id"] == first.json()["id"]
    other = await api.client.post(JOBS, json=body({"url": URL}), headers={"idempotency-key": "o"})
    assert other.status_code == 422


async def test_a_batch_repeats_its_webhook_within_the_limit(opening: Opening) -> None:
    async with opening(max_body_bytes=4096) as api:
        await api.publish()
        hook = {"url": URL + "x" * 300, "secret": SECRET}
        many = {"inputs": [{"text": "a"}] * 20, "webhook": hook}
        answer = await api.client.post(f"{JOBS}/batch", json=many)
        assert (answer.status_code, answer.json()["code"]) == (413, "payload_too_large")


async def test_deliveries_with_their_tries(api: Api) -> None:
    job = await finished(api)
    sender = Sender(api)
    assert (await api.client.get(f"/v1/jobs/{job}/webhooks")).json() == {"data": []}
    [webhook] = await sender.end(Verdict.RETRY, status=500)
    [shown] = (await api.client.get(f"/v1/jobs/{job}/webhooks")).json()["data"]
    [tried] = shown.pop("tries")
    assert shown.pop("next_at") == tried.pop("next_at") > tried["at"]
    assert tried["at"] >= shown.pop("created_at")
    assert shown == {"id": webhook, "type": "job.succeeded", "url": URL, "status": "pending"}
    assert tried["at"].endswith("Z")
    del tried["at"]
    assert tried == {
        "outcome": "status_500",
        "status": 500,
        "seconds": 0.25,
        "error": None,
        "response": "what?",
    }


async def test_a_replay_is_sent_with_the_same_id(api: Api) -> None:
    job = await finished(api)
    sender = Sender(api)
    [webhook] = await sender.end()
    path = f"/v1/jobs/{job}/webhooks/{webhook}/replay"
    for key in ("one", '"one"', "two"):
        answer = await api.client.post(path, headers={"idempotency-key": key})
        assert answer.status_code == 202
        assert (answer.json()["id"], answer.json()["status"]) == (webhook, "pending")
    assert await sender.end() == [webhook]
    assert await sender.end() == []
    [shown] = (await api.client.get(f"/v1/jobs/{job}/webhooks")).json()["data"]
    assert (shown["status"], len(shown["tries"])) == ("delivered", 2)
    wrong = await api.client.post(path, headers={"idempotency-key": "x" * 300})
    assert wrong.status_code == 422


async def test_the_webhook_of_a_batch(api: Api) -> None:
    given = {"inputs": [{"text": "a"}] * 2, "webhook": {**HOOK, "events": ["batch.finished"]}}
    made = (await api.client.post(f"{JOBS}/batch", json=given)).json()
    path = f"/v1/batches/{made['batch']}/webhooks"
    assert (await api.client.get(path)).json() == {"data": []}
    hand = await api.worker()
    await hand.end(await hand.take_soon(2))
    [webhook] = await Sender(api).end()
    [shown] = (await api.client.get(path)).json()["data"]
    assert (shown["id"], shown["type"], shown["status"]) == (webhook, "batch.finished", "delivered")
    for job in made["jobs"]:
        assert (await api.client.get(f"/v1/jobs/{job['id']}/webhooks")).json() == {"data": []}
    assert (await api.client.post(f"{path}/{webhook}/replay")).status_code == 202
    wrong = f"/v1/jobs/{made['batch']}/webhooks"
    assert (await api.client.get(wrong)).json()["code"] == "no_such_job"
    assert (await api.client.post(f"{wrong}/{webhook}/replay")).json()["code"] == "no_such_job"


async def test_deliveries_outlive_their_job(api: Api) -> None:
    job = await finished(api)
    [webhook] = await Sender(api).end()
    assert (await api.client.delete(f"/v1/jobs/{job}")).status_code == 204
    [shown] = (await api.client.get(f"/v1/jobs/{job}/webhooks")).json()["data"]
    assert shown["id"] == webhook


async def test_what_is_not_there(api: Api) -> None:
    job = await finished(api)
    nothing = "0" * 29
    for path, code in (
        (f"/v1/jobs/job_{nothing}/webhooks", "no_such_job"),
        ("/v1/jobs/x/webhooks", "no_such_job"),
        (f"/v1/batches/bat_{nothing}/webhooks", "no_such_batch"),
        (f"/v1/batches/{job}/webhooks", "no_such_batch"),
    ):
        answer = await api.client.get(path)
        assert (answer.status_code, answer.json()["code"]) == (404, code)
    for path in (f"/v1/jobs/{job}/webhooks/wh_{nothing}", f"/v1/jobs/{job}/webhooks/x"):
        answer = await api.client.post(f"{path}/replay")
        assert (answer.status_code, answer.json()["code"]) == (404, "no_such_webhook")


async def test_another_tenants_deliveries_are_not_there(api: Api) -> None:
    acme, bolt = await api.key("acme"), await api.key("bolt")
    reader = await api.key("acme", Role.READ)
    made = await api.client.post(JOBS, json=body(), headers=acme)
    job = made.json()["id"]
    await (await api.worker()).run()
    [webhook] = await Sender(api).end()
    path = f"/v1/jobs/{job}/webhooks"
    assert (await api.client.get(path, headers=reader)).status_code == 200
    assert (await api.client.get(path, headers=bolt)).json()["code"] == "no_such_job"
    replay = f"{path}/{webhook}/replay"
    assert (await api.client.post(replay, headers=reader)).status_code == 403
    assert (await api.client.post(replay, headers=bolt)).json()["code"] == "no_such_webhook"
    assert (await api.client.post(replay, headers=acme)).status_code == 202


async def test_a_retry_takes_the_webhook_along(api: Api) -> None:
    hook = {**HOOK, "events": ["job.failed"]}
    job = await api.submit(webhook=hook)
    hand = await api.worker()
    await hand.run("failed", {"code": "model_error"})
    sender = Sender(api)
    await sender.end()
    again = (await api.client.post(f"/v1/jobs/{job['id']}/retry")).json()
    assert again["webhook"] == {"url": URL, "events": ["job.failed"]}
    await hand.run("failed", {"code": "model_error"})
    [(_, delivery)] = await sender.take()
    assert (delivery.owner, delivery.secret) == (again["id"], SECRET)
    by_admin = (await api.client.post(f"/v1/admin/dead/{again['id']}/retry")).json()
    await hand.run("failed", {"code": "model_error"})
    [(_, delivery)] = await sender.take()
    assert (delivery.owner, delivery.secret) == (by_admin["id"], SECRET)
