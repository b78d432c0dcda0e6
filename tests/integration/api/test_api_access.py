"""Who may do what: every route by no key, bad key, revoked key, wrong role and other tenant."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest
from starlette.routing import Route

from jobs.keystore import KeyStore, Role

#: (method, path) -> the least role; `{job}` and `{batch}` belong to the tenant `acme`.
ROUTES: dict[tuple[str, str], Role] = {
    ("POST", "/v1/models/echo/jobs"): Role.SUBMIT,
    ("POST", "/v1/models/echo/jobs/batch"): Role.SUBMIT,
    ("GET", "/v1/batches/{batch}"): Role.READ,
    ("GET", "/v1/jobs"): Role.READ,
    ("GET", "/v1/jobs/{job}"): Role.READ,
    ("POST", "/v1/jobs/{job}/cancel"): Role.SUBMIT,
    ("POST", "/v1/jobs/{job}/retry"): Role.SUBMIT,
    ("DELETE", "/v1/jobs/{job}"): Role.SUBMIT,
    ("GET", "/v1/models"): Role.READ,
    ("GET", "/v1/models/echo"): Role.READ,
    ("GET", "/v1/models/echo/scale"): Role.READ,
    ("GET", "/openapi.json"): Role.READ,
    ("GET", "/docs"): Role.READ,
    ("GET", "/v1/admin/keys"): Role.ADMIN,
    ("POST", "/v1/admin/keys"): Role.ADMIN,
    ("DELETE", "/v1/admin/keys/nokey"): Role.ADMIN,
    ("GET", "/v1/admin/dead"): Role.ADMIN,
    ("GET", "/v1/admin/dead/{job}"): Role.ADMIN,
    ("DELETE", "/v1/admin/dead/{job}"): Role.ADMIN,
    ("POST", "/v1/admin/dead/{job}/retry"): Role.ADMIN,
    ("POST", "/v1/admin/dead/retry"): Role.ADMIN,
    ("POST", "/v1/admin/dead/purge"): Role.ADMIN,
    ("GET", "/v1/jobs/{job}/webhooks"): Role.READ,
    ("POST", "/v1/jobs/{job}/webhooks/nowebhook/replay"): Role.SUBMIT,
    ("GET", "/v1/batches/{batch}/webhooks"): Role.READ,
    ("POST", "/v1/batches/{batch}/webhooks/nowebhook/replay"): Role.SUBMIT,
    ("GET", "/v1/admin/webhook-secrets"): Role.ADMIN,
    ("POST", "/v1/admin/webhook-secrets"): Role.ADMIN,
    ("POST", "/v1/admin/webhook-secrets/notenant/rotate"): Role.ADMIN,
    ("DELETE", "/v1/admin/webhook-secrets/notenant"): Role.ADMIN,
    ("GET", "/v1/admin/webhook-endpoints"): Role.ADMIN,
    ("POST", "/v1/admin/webhook-endpoints/noendpoint/enable"): Role.ADMIN,
    ("GET", "/v1/admin/dead/webhooks"): Role.ADMIN,
    ("POST", "/v1/admin/dead/webhooks/nowebhook/replay"): Role.ADMIN,
    ("DELETE", "/v1/admin/dead/webhooks/nowebhook"): Role.ADMIN,
}
#: What stands for a part of a path, and that part's name.
PARTS = {
    "{job}": "{job_id}",
    "{batch}": "{batch_id}",
    "echo": "{model}",
    "nokey": "{key_id}",
    "nowebhook": "{webhook_id}",
    "notenant": "{tenant}",
    "noendpoint": "{endpoint_id}",
}
OPEN = {("GET", "/livez"), ("GET", "/healthz"), ("HEAD", "/livez"), ("HEAD", "/healthz")}
BODIES: dict[str, Any] = {
    "/v1/models/echo/jobs": {"input": {"text": "a"}},
    "/v1/models/echo/jobs/batch": {"inputs": [{"text": "a"}]},
    "/v1/admin/keys": {"role": "read"},
    "/v1/admin/dead/retry": {"all": True},
    "/v1/admin/dead/purge": {"all": True},
    "/v1/admin/webhook-secrets": {},
    "/v1/admin/webhook-secrets/notenant/rotate": {},
}
IDS = ("{job}", "{batch}")


class World:
    """An application with keys, and a job and a batch of the tenant `acme`."""

    def __init__(self, api: Any) -> None:
        self.api = api
        self.names: dict[str, str] = {}
        self.acme: dict[str, str] = {}

    async def begin(self) -> None:
        self.acme = await self.api.key("acme")
        post = self.api.client.post
        job = await post("/v1/models/echo/jobs", json={"input": {"text": "a"}}, headers=self.acme)
        batch = await post(
            "/v1/models/echo/jobs/batch", json={"inputs": [{"text": "a"}]}, headers=self.acme
        )
        self.names = {"job": job.json()["id"], "batch": batch.json()["batch"]}

    async def call(self, route: tuple[str, str], headers: dict[str, str]) -> Any:
        method, path = route
        body = {"json": BODIES[path]} if method == "POST" and path in BODIES else {}
        url = path.format(**self.names)
        return await self.api.client.request(method, url, headers=headers, **body)


@pytest.fixture
async def world(api: Any) -> World:
    made = World(api)
    await made.begin()
    return made


def test_the_matrix_names_every_route_there_is(api: Any) -> None:
    there = {
        (method, route.path)
        for route in api.app.routes
        if isinstance(route, Route)
        for method in route.methods or ()
    }
    named = {
        (method, "/".join(PARTS.get(part, part) for part in path.split("/")))
        for method, path in {*ROUTES, *OPEN}
    }
    assert named == there


@pytest.mark.parametrize("route", ROUTES)
async def test_without_a_valid_key_every_route_is_closed(
    world: World, route: tuple[str, str]
) -> None:
    store = KeyStore(world.api.redis)
    text, record = await store.create(tenant="acme", role=Role.ADMIN)
    await store.revoke(record.id)
    await world.api.refresh_keys()
    bad = world.acme["authorization"][:-1] + "x"
    for headers in (
        {},
        {"authorization": "Bearer nonsense"},
        {"authorization": bad if bad != world.acme["authorization"] else bad[:-1] + "y"},
        {"authorization": f"Bearer {text}"},
        {"authorization": f"Basic {text}"},
    ):
        answer = await world.call(route, headers)
        assert (answer.status_code, answer.json()["code"]) == (401, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("route", ROUTES)
async def test_a_role_may_do_what_it_may(world: World, route: tuple[str, str]) -> None:
    order = list(Role)
    for role in order:
        answer = await world.call(route, await world.api.key("acme", role))
        if order.index(role) < order.index(ROUTES[route]):
            assert (answer.status_code, answer.json()["code"]) == (403, "forbidden")
        else:
            assert answer.status_code not in (401, 403)


OWNED = [
    route
    for route, role in ROUTES.items()
    if role != Role.ADMIN and any(i in route[1] for i in IDS)
]


@pytest.mark.parametrize("route", OWNED)
async def test_what_belongs_to_another_tenant_is_not_there(
    world: World, route: tuple[str, str]
) -> None:
    for role in (Role.SUBMIT, Role.ADMIN):
        answer = await world.call(route, await world.api.key("other", role))
        assert answer.status_code == 404
        assert answer.json()["code"] in ("no_such_job", "no_such_batch", "no_such_webhook")
    kept = await world.call(("GET", "/v1/jobs/{job}"), world.acme)
    assert kept.json()["status"] == "queued"


async def test_lists_and_keys_of_repeats_are_per_tenant(world: World) -> None:
    other = await world.api.key("other")
    for query in ("", f"?ids={world.names['job']}", f"?batch={world.names['batch']}"):
        listed = await world.api.client.get(f"/v1/jobs{query}", headers=other)
        assert listed.json()["data"] == []
    repeat = {"idempotency-key": "k"}
    answers = [
        await world.call(("POST", "/v1/models/echo/jobs"), {**key, **repeat})
        for key in (world.acme, other)
    ]
    assert len({answer.json()["id"] for answer in answers}) == 2


@pytest.mark.parametrize("route", OPEN)
async def test_probes_are_open(world: World, route: tuple[str, str]) -> None:
    assert (await world.call(route, {})).status_code == 200


async def test_docs_can_be_opened_and_switched_off(opening: Any) -> None:
    async with opening(docs="open") as api:
        await api.key()
        assert (await api.client.get("/docs")).status_code == 200
        assert (await api.client.get("/openapi.json")).status_code == 200
    async with opening(docs="off") as api:
        for path in ("/docs", "/openapi.json"):
            answer = await api.client.get(path, headers=await api.key("a", Role.ADMIN))
            assert (answer.status_code, answer.json()["code"]) == (404, "not_found")


async def test_open_ends_with_the_first_key_and_does_not_come_back(api: Any) -> None:
    assert (await api.client.get("/v1/jobs")).status_code == 200
    made = (await api.client.post("/v1/admin/keys", json={"role": "admin"})).json()
    assert (await api.client.get("/v1/jobs")).status_code == 401
    headers = {"authorization": f"Bearer {made['key']}"}
    gone = await api.client.delete(f"/v1/admin/keys/{made['id']}", headers=headers)
    assert gone.status_code == 204
    assert (await api.client.get("/v1/jobs")).status_code == 401
    assert (await api.client.get("/v1/jobs", headers=headers)).status_code == 401


async def test_keys_are_made_listed_and_revoked(api: Any) -> None:
    admin = await api.key(role=Role.ADMIN)
    body = {"tenant": "acme", "role": "submit", "name": "ci"}
    answer = await api.client.post("/v1/admin/keys", json=body, headers=admin)
    made = answer.json()
    assert answer.status_code == 201
    assert made["key"].startswith(f"hr_{made['id']}_")
    key = {"authorization": f"Bearer {made['key']}"}
    assert (await api.client.get("/v1/jobs", headers=key)).status_code == 200
    listed = await api.client.get("/v1/admin/keys", headers=admin)
    (row,) = [each for each in listed.json()["data"] if each["id"] == made["id"]]
    assert (row["tenant"], row["role"], row["name"], row["revoked_at"]) == (
        "acme",
        "submit",
        "ci",
        None,
    )
    assert made["key"].rpartition("_")[2] not in listed.text
    assert "digest" not in listed.text
    await api.client.delete(f"/v1/admin/keys/{made['id']}", headers=admin)
    assert (await api.client.get("/v1/jobs", headers=key)).status_code == 401
    missing = await api.client.delete("/v1/admin/keys/nobody", headers=admin)
    assert (missing.status_code, missing.json()["code"]) == (404, "not_found")


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({"role": "king"}, "role"),
        ({"tenant": "No Such"}, "tenant"),
        ({"name": "x" * 201}, "name"),
        ({"secret": "mine"}, "secret"),
    ],
)
async def test_a_wrong_key_request_names_the_field(api: Any, body: Any, field: str) -> None:
    answer = await api.client.post("/v1/admin/keys", json=body)
    assert answer.status_code == 422
    assert answer.json()["errors"][0]["loc"] == ["body", field]


async def test_a_key_revoked_elsewhere_is_refused_within_five_seconds(
    api: Any, opening: Any
) -> None:
    async with opening() as other:
        text, record = await KeyStore(api.redis).create(role=Role.READ)
        await other.refresh_keys()
        headers = {"authorization": f"Bearer {text}"}
        assert (await other.client.get("/v1/jobs", headers=headers)).status_code == 200
        await KeyStore(api.redis).revoke(record.id)
        async with asyncio.timeout(5):
            await other.until("/v1/jobs", 401, headers)


async def test_the_keys_file_seeds_the_first_keys(opening: Any, tmp_path: Path) -> None:
    text = f"hr_{'a' * 12}_{'B' * 43}"
    path = tmp_path / "keys"
    path.write_text(f"# first\n{text} admin acme boss\n")
    async with opening(keys_file=path) as api:
        headers = {"authorization": f"Bearer {text}"}
        await api.until("/v1/admin/keys", 200, headers)
        assert (await api.client.get("/v1/jobs")).status_code == 401


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8000", 200),
        ("127.0.0.1:8000", 200),
        ("[::1]:8000", 200),
        ("LOCALHOST", 200),
        ("evil.example", 403),
        ("127.0.0.1.evil.example:8000", 403),
        ("localhost.evil.example", 403),
    ],
)
async def test_without_a_key_only_this_machines_names_are_answered(
    api: Any, host: str, status: int
) -> None:
    answer = await api.client.get("/v1/models", headers={"host": host})
    assert answer.status_code == status
