"""Dead letters over HTTP: looked at, run again and erased, across all tenants."""

from __future__ import annotations

from typing import Any

import pytest

from jobs.keystore import Role
from jobs.worker_queue import Outcome
from tests.integration.api.conftest import Api, Opening

DEAD = "/v1/admin/dead"


class Graveyard:
    """An application with an administrator, two tenants, and jobs that fail as told."""

    def __init__(self, api: Api) -> None:
        self.api = api
        self.admin: dict[str, str] = {}
        self.tenants: dict[str, dict[str, str]] = {}

    async def begin(self) -> None:
        self.tenants = {name: await self.api.key(name) for name in ("acme", "bolt")}
        self.admin = await self.api.key("ops", Role.ADMIN)

    async def dead(
        self, tenant: str = "acme", model: str = "echo", kind: str = "failed", **options: Any
    ) -> str:
        answer = await self.api.client.post(
            f"/v1/models/{model}/jobs",
            json={"input": {"text": "secret words"}, **options},
            headers=self.tenants[tenant],
        )
        assert answer.status_code == 202, answer.text
        hand = await self.api.worker(model)
        [job] = await hand.take()
        error = b'{"code":"model_error","detail":"it broke"}'
        outcome = Outcome(job.id, job.token, kind, error, code="model_error", detail="a stack")
        assert (await hand.queue.settle([outcome]))[job.id] == "ok"
        return str(answer.json()["id"])

    async def call(self, method: str, path: str = "", **more: Any) -> Any:
        headers = {**self.admin, **more.pop("headers", {})}
        return await self.api.client.request(method, DEAD + path, headers=headers, **more)

    async def listed(self, **query: Any) -> list[str]:
        answer = await self.call("GET", params=query)
        assert answer.status_code == 200, answer.text
        return [one["id"] for one in answer.json()["data"]]


@pytest.fixture
async def yard(api: Api) -> Graveyard:
    await api.publish("other")
    made = Graveyard(api)
    await made.begin()
    return made


async def test_a_dead_letter_tells_each_attempt_and_no_content(yard: Graveyard) -> None:
    first = await yard.dead("acme", metadata={"order": "7"})
    second = await yard.dead("bolt", kind="timed_out")
    answer = await yard.call("GET")
    assert [one["id"] for one in answer.json()["data"]] == [second, first]
    assert "secret words" not in answer.text
    letter = (await yard.call("GET", f"/{first}")).json()
    assert letter == answer.json()["data"][1]
    assert (letter["tenant"], letter["status"], letter["metadata"]) == (
        "acme",
        "failed",
        {"order": "7"},
    )
    assert letter["error"]["detail"] == "it broke"
    [attempt] = letter["attempts"]
    assert letter["started_at"] == attempt["started_at"] <= attempt["ended_at"]
    assert attempt["life"].startswith("echo-hand:")
    told = {name: attempt[name] for name in ("attempt", "worker", "reason", "charged", "detail")}
    assert told == {
        "attempt": 1,
        "worker": "echo-hand",
        "reason": "model_error",
        "charged": False,
        "detail": "a stack",
    }


async def test_pages_go_on_where_the_last_one_ended(yard: Graveyard) -> None:
    made = [await yard.dead(model=model) for model in ("echo", "other", "echo", "echo", "other")]
    seen: list[str] = []
    cursor = None
    while True:
        query = {"limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await yard.call("GET", params=query)).json()
        seen += [one["id"] for one in page["data"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
    assert seen == made[::-1]
    assert await yard.listed(model="other") == [made[4], made[1]]
    assert await yard.listed(model="nobody") == []
    wrong = await yard.call("GET", params={"cursor": "0-x"})
    assert (wrong.status_code, wrong.json()["code"]) == (400, "malformed_request")


async def test_jobs_that_ended_in_one_millisecond_are_each_listed_once(yard: Graveyard) -> None:
    answer = await yard.api.client.post(
        "/v1/models/echo/jobs/batch",
        json={"inputs": [{"text": str(n)} for n in range(30)]},
        headers=yard.tenants["acme"],
    )
    hand = await yard.api.worker()
    await hand.end(await hand.take(30), "failed", {"code": "model_error"})
    seen: list[str] = []
    query: dict[str, Any] = {"limit": 7}
    while True:
        page = (await yard.call("GET", params=query)).json()
        seen += [one["id"] for one in page["data"]]
        if page["next_cursor"] is None:
            break
        query["cursor"] = page["next_cursor"]
    assert sorted(seen) == sorted(one["id"] for one in answer.json()["jobs"])


async def test_a_retry_is_a_new_job_of_the_same_tenant(yard: Graveyard) -> None:
    old = await yard.dead("acme", priority="high")
    headers = {"idempotency-key": "once"}
    answers = [await yard.call("POST", f"/{old}/retry", headers=headers) for _ in range(2)]
    assert [one.status_code for one in answers] == [202, 202]
    assert "idempotent-replayed" not in answers[0].headers
    assert answers[1].headers["idempotent-replayed"] == "true"
    new = answers[0].json()
    assert (new["retry_of"], new["priority"], new["status"]) == (old, "high", "queued")
    assert answers[1].json()["id"] == new["id"]
    assert not {"input", "output", "progress"} & set(new)
    assert "secret words" not in answers[0].text + answers[1].text
    mine = await yard.api.client.get(f"/v1/jobs/{new['id']}", headers=yard.tenants["acme"])
    assert mine.json()["input"] == {"text": "secret words"}
    theirs = await yard.api.client.get(f"/v1/jobs/{new['id']}", headers=yard.tenants["bolt"])
    assert theirs.status_code == 404
    assert (await yard.call("GET", f"/{old}")).json()["retried_as"] == new["id"]
    assert (await yard.call("POST", f"/{new['id']}/retry")).json()["code"] == "no_such_job"


async def test_many_are_retried_once_however_often_it_is_asked(yard: Graveyard) -> None:
    olds = [await yard.dead(tenant) for tenant in ("acme", "bolt", "acme")]
    other = await yard.dead(model="other")
    made: dict[str, str] = {}
    cursor = None
    for _ in range(2):
        body = {"model": "echo", "limit": 2} | ({"cursor": cursor} if cursor else {})
        page = (await yard.call("POST", "/retry", json=body)).json()
        made |= {one["id"]: one["job"] for one in page["data"] if one["status"] == "retried"}
        cursor = page["next_cursor"]
    assert cursor is None
    assert set(made) == set(olds)
    again = (await yard.call("POST", "/retry", json={"ids": [*olds, other, "nonsense"]})).json()
    assert {one["id"]: one["status"] for one in again["data"]} == {
        **dict.fromkeys(olds, "skipped"),
        other: "retried",
        "nonsense": "refused",
    }
    assert [one["job"] for one in again["data"][:3]] == [made[old] for old in olds]
    assert again["data"][4]["error"]["code"] == "no_such_job"


async def test_a_retry_whose_note_was_lost_makes_no_second_job(yard: Graveyard) -> None:
    old = await yard.dead()
    first = (await yard.call("POST", "/retry", json={"ids": [old]})).json()["data"][0]
    [key] = await yard.api.redis.client.keys(f"*:job:{old}")
    await yard.api.redis.client.hdel(key, "retried_as")
    second = (await yard.call("POST", "/retry", json={"ids": [old]})).json()["data"][0]
    assert (second["status"], second["job"]) == ("retried", first["job"])


async def test_an_administrators_key_is_not_the_tenants(yard: Graveyard) -> None:
    old = await yard.dead("acme")
    key = {"idempotency-key": "once"}
    own = await yard.api.client.post(
        "/v1/models/echo/jobs",
        json={"input": {"text": "other words"}},
        headers={**yard.tenants["acme"], **key},
    )
    again = await yard.call("POST", f"/{old}/retry", headers=key)
    assert again.status_code == 202, again.text
    assert again.json()["id"] != own.json()["id"]


async def test_wrong_fields_are_named_without_what_stood_in_them(yard: Graveyard) -> None:
    wrong = {"type": "x", "loc": ["body", "input"], "msg": "bad", "input": "secret words"}
    await yard.api.client.post(
        "/v1/models/echo/jobs",
        json={"input": {"text": "secret words"}},
        headers=yard.tenants["acme"],
    )
    hand = await yard.api.worker()
    await hand.run("failed", {"code": "invalid_input", "detail": "bad", "errors": [wrong]})
    listed = await yard.call("GET")
    [letter] = listed.json()["data"]
    assert letter["error"]["errors"] == [{"type": "x", "loc": ["body", "input"], "msg": "bad"}]
    schema = {"type": "object", "properties": {"text": {"type": "integer"}}, "required": ["text"]}
    await yard.api.publish("echo", "2", input_schema=schema)
    one = await yard.call("POST", f"/{letter['id']}/retry")
    many = await yard.call("POST", "/retry", json={"ids": [letter["id"]]})
    assert (one.status_code, one.json()["code"]) == (422, "invalid_input")
    for problem in (one.json(), many.json()["data"][0]["error"]):
        assert problem["errors"][0]["loc"][-1] == "text"
    assert "secret words" not in listed.text + one.text + many.text


async def test_two_hundred_are_chosen_by_their_ids(yard: Graveyard) -> None:
    post, headers = yard.api.client.post, yard.tenants["acme"]
    body = {"inputs": [{"text": "a"}] * 200}
    batch = (await post("/v1/models/echo/jobs/batch", json=body, headers=headers)).json()
    hand = await yard.api.worker()
    await hand.end(await hand.take(200), "failed", {"code": "model_error"})
    ids = [job["id"] for job in batch["jobs"]]
    results = (await yard.call("POST", "/purge", json={"ids": ids})).json()["data"]
    assert [(each["id"], each["status"]) for each in results] == [(id, "purged") for id in ids]


async def test_what_cannot_run_again_is_refused_by_itself(yard: Graveyard) -> None:
    good, stuck = await yard.dead(), await yard.dead(model="other")
    schema = {"type": "object", "properties": {"words": {"type": "string"}}, "required": ["words"]}
    await yard.api.publish("other", "2", input_schema=schema)
    results = (await yard.call("POST", "/retry", json={"all": True})).json()["data"]
    told = {one["id"]: (one["status"], (one["error"] or {}).get("code")) for one in results}
    assert told == {good: ("retried", None), stuck: ("refused", "invalid_input")}


async def test_a_cold_model_and_a_version_that_is_gone(yard: Graveyard, opening: Opening) -> None:
    old = await yard.dead()
    hand = await yard.api.worker()
    await hand.queue.leave()
    await yard.api.publish("echo", "2")
    new = await yard.call("POST", f"/{old}/retry")
    assert (new.status_code, new.json()["version"]) == (202, "2")
    await yard.api.redis.client.delete("hr:cards", "hr:production")
    await yard.api.redis.client.incr("hr:cards:rev")
    async with opening() as fresh:
        # Nobody knows the model any more: its dead letters are still found.
        found = await fresh.client.get(DEAD, params={"model": "echo"}, headers=yard.admin)
        assert [one["id"] for one in found.json()["data"]] == [old]
        refused = await fresh.client.post(f"{DEAD}/{old}/retry", headers=yard.admin)
        assert (refused.status_code, refused.json()["code"]) == (404, "model_not_found")


async def test_purged_is_gone_and_the_rest_stays(yard: Graveyard) -> None:
    one, two, other = await yard.dead(), await yard.dead("bolt"), await yard.dead(model="other")
    assert (await yard.call("DELETE", f"/{one}")).status_code == 204
    assert (await yard.call("DELETE", f"/{one}")).json()["code"] == "no_such_job"
    assert await yard.listed() == [other, two]
    results = (await yard.call("POST", "/purge", json={"model": "echo"})).json()["data"]
    assert [(each["id"], each["status"]) for each in results] == [(two, "purged")]
    assert await yard.listed() == [other]
    assert await yard.api.redis.client.keys(f"*{one}*") == []
    assert await yard.api.redis.client.keys(f"*{two}*") == []


async def test_a_batch_counts_its_purged_jobs_and_goes_with_the_last(yard: Graveyard) -> None:
    headers = yard.tenants["acme"]
    body = {"inputs": [{"text": "a"}, {"text": "b"}]}
    post = yard.api.client.post
    batch = (await post("/v1/models/echo/jobs/batch", json=body, headers=headers)).json()
    hand = await yard.api.worker()
    await hand.end(await hand.take(2), "failed", {"code": "model_error"})
    first, last = (job["id"] for job in batch["jobs"])
    address = f"/v1/batches/{batch['batch']}"
    await yard.call("DELETE", f"/{first}")
    kept = await yard.api.client.get(address, headers=headers)
    assert kept.json()["counts"]["failed"] == 2
    await yard.call("DELETE", f"/{last}")
    assert (await yard.api.client.get(address, headers=headers)).status_code == 404
    assert await yard.api.redis.client.keys("*batch*") == []


@pytest.mark.parametrize("path", ["/retry", "/purge"])
@pytest.mark.parametrize("body", [{}, {"ids": []}, {"every": True}, {"ids": ["x"] * 201}])
async def test_nothing_happens_to_all_unless_it_is_said(
    yard: Graveyard, path: str, body: dict[str, Any]
) -> None:
    dead = await yard.dead()
    answer = await yard.call("POST", path, json=body)
    assert (answer.status_code, answer.json()["code"]) == (422, "invalid_input")
    assert await yard.listed() == [dead]
