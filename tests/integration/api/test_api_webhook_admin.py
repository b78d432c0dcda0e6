"""Secrets, endpoints and dead deliveries over HTTP, for administrators."""

from __future__ import annotations

from typing import Any

import pytest
from structlog.testing import capture_logs

from jobs.keystore import Role
from jobs.webhook import Verdict
from jobs.webhook_secrets import WebhookSecrets, key_of
from tests.integration.api.conftest import Api
from tests.integration.api.sending import SECRET, URL, Sender

SECRETS = "/v1/admin/webhook-secrets"
ENDPOINTS = "/v1/admin/webhook-endpoints"
DEAD = "/v1/admin/dead/webhooks"


async def told(api: Api, verdict: Verdict, url: str = URL, **how: Any) -> tuple[str, str]:
    """Return a job and its delivery, which ended like this."""
    job = await api.submit(webhook={"url": url, "secret": SECRET})
    await (await api.worker()).run()
    [webhook] = await Sender(api).end(verdict, **how)
    return job["id"], webhook


async def test_a_secret_is_shown_once_rotated_and_removed(api: Api) -> None:
    made = await api.client.post(SECRETS, json={"tenant": "acme"})
    assert made.status_code == 201
    first = made.json()["secret"]
    assert made.json() == {"tenant": "acme", "secret": first}
    assert len(key_of(first)) == 32
    again = await api.client.post(SECRETS, json={"tenant": "acme"})
    assert again.status_code == 400
    assert "rotate" in again.json()["detail"]
    rotated = await api.client.post(f"{SECRETS}/acme/rotate", json={"overlap_s": 60})
    assert rotated.status_code == 200
    second = rotated.json()["secret"]
    assert rotated.json() == {"tenant": "acme", "secret": second, "overlap_s": 60.0}
    assert await WebhookSecrets(api.redis).signing("acme") == [second, first]
    listed = await api.client.get(SECRETS)
    [shown] = listed.json()["data"]
    assert shown["tenant"] == "acme"
    assert shown["previous_until"] > shown["created_at"]
    assert "whsec_" not in listed.text
    assert (await api.client.delete(f"{SECRETS}/acme")).status_code == 204
    assert (await api.client.delete(f"{SECRETS}/acme")).json()["code"] == "not_found"
    assert (await api.client.get(SECRETS)).json() == {"data": []}


async def test_a_rotation_overlaps_for_a_day_unless_told(api: Api) -> None:
    assert (await api.client.post(SECRETS, json={})).json()["tenant"] == "default"
    rotated = (await api.client.post(f"{SECRETS}/default/rotate", json={})).json()
    assert rotated["overlap_s"] == 86_400
    last = (await api.client.post(f"{SECRETS}/default/rotate", json={"overlap_s": 0})).json()
    assert await WebhookSecrets(api.redis).signing("default") == [last["secret"]]


@pytest.mark.parametrize(
    ("path", "given", "status"),
    [
        ("", {"tenant": "No Name"}, 422),
        ("", {"tenant": "a", "secret": SECRET}, 422),
        ("/acme/rotate", {}, 400),
        ("/acme/rotate", {"overlap_s": -1}, 422),
        ("/acme/rotate", {"overlap_s": 31 * 86_400}, 422),
        ("/acme/rotate", {"overlap_s": "1"}, 422),
    ],
)
async def test_wrong_bodies(api: Api, path: str, given: Any, status: int) -> None:
    assert (await api.client.post(SECRETS + path, json=given)).status_code == status


async def test_only_administrators(api: Api) -> None:
    key = await api.key("acme", Role.SUBMIT)
    for method, path in (
        *(("GET", SECRETS), ("POST", SECRETS), ("POST", f"{SECRETS}/acme/rotate")),
        *(("DELETE", f"{SECRETS}/acme"), ("GET", ENDPOINTS), ("POST", f"{ENDPOINTS}/x/enable")),
        *(("GET", DEAD), ("POST", f"{DEAD}/x/replay"), ("DELETE", f"{DEAD}/x")),
    ):
        answer = await api.client.request(method, path, headers=key)
        assert (answer.status_code, answer.json()["code"]) == (403, "forbidden"), path
        assert (await api.client.request(method, path)).status_code == 401


async def test_dead_deliveries_are_listed_sent_again_and_erased(api: Api) -> None:
    made = [await told(api, Verdict.FAILED, status=500) for _ in range(3)]
    await told(api, Verdict.DELIVERED)
    page = (await api.client.get(DEAD, params={"limit": 2})).json()
    rest = await api.client.get(DEAD, params={"limit": 2, "cursor": page["next_cursor"]})
    found = page["data"] + rest.json()["data"]
    assert [(one["job"], one["id"]) for one in found] == made[::-1]
    assert rest.json()["next_cursor"] is None
    first = found[-1]
    assert (first["tenant"], first["batch"], first["status"]) == ("default", None, "failed")
    assert [tried["outcome"] for tried in first["tries"]] == ["status_500"]
    assert "what?" not in rest.text, "what a receiver answered is its tenant's"
    with capture_logs() as logs:
        again = await api.client.post(f"{DEAD}/{first['id']}/replay")
        assert (await api.client.delete(f"{DEAD}/{found[0]['id']}")).status_code == 204
    assert [line["event"] for line in logs] == ["webhook_replayed", "webhook_purged"]
    assert (again.status_code, again.json()["status"]) == (202, "pending")
    # It is under way now, and the other is gone.
    for _, webhook in (made[0], made[2]):
        answer = await api.client.delete(f"{DEAD}/{webhook}")
        assert (answer.status_code, answer.json()["code"]) == (404, "no_such_webhook")
    assert [one["id"] for one in (await api.client.get(DEAD)).json()["data"]] == [made[1][1]]
    assert await Sender(api).end() == [first["id"]]


async def test_wrong_pages_and_ids(api: Api) -> None:
    assert (await api.client.get(DEAD, params={"cursor": "x"})).status_code == 400
    assert (await api.client.get(DEAD, params={"limit": 0})).status_code == 422
    for method, path in (("POST", f"{DEAD}/x/replay"), ("DELETE", f"{DEAD}/wh_{'0' * 29}")):
        answer = await api.client.request(method, path)
        assert (answer.status_code, answer.json()["code"]) == (404, "no_such_webhook")
    # Dead letters by id are still found beside them.
    assert (await api.client.get("/v1/admin/dead/x")).json()["code"] == "no_such_job"


async def test_an_endpoint_that_is_gone_is_listed_and_taken_into_service_again(api: Api) -> None:
    await told(api, Verdict.GONE, status=410)
    [endpoint] = (await api.client.get(ENDPOINTS)).json()["data"]
    assert (endpoint["tenant"], endpoint["url"], endpoint["status"]) == ("default", URL, "disabled")
    assert endpoint["reason"]
    assert endpoint["disabled_at"]
    assert (await api.client.get(ENDPOINTS, params={"tenant": "acme"})).json() == {"data": []}
    enable = f"{ENDPOINTS}/{endpoint['id']}/enable"
    assert (await api.client.post(enable)).status_code == 204
    assert (await api.client.post(enable)).json()["code"] == "not_found"
    job, webhook = await told(api, Verdict.DELIVERED)
    [shown] = (await api.client.get(f"/v1/jobs/{job}/webhooks")).json()["data"]
    assert (shown["id"], shown["status"]) == (webhook, "delivered")


async def test_an_endpoint_that_fails_is_listed(api: Api) -> None:
    await told(api, Verdict.RETRY, status=500)
    [endpoint] = (await api.client.get(ENDPOINTS)).json()["data"]
    assert (endpoint["status"], endpoint["disabled_at"]) == ("failing", None)
    assert endpoint["failing_since"]
