"""Who may do what: every route, with each kind of key and with none."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator

import httpx
import pytest

from headrace.chaos.stack import Api, Stack, until

from .folders import EXAMPLES
from .problems import problem

SECRET = "s" * 43
KEYS = {
    "admin": ("admin", "default"),
    "submit": ("submit", "default"),
    "read": ("read", "default"),
    "other": ("submit", "other"),
    "revoked": ("admin", "default"),
    "spent": ("submit", "default"),
}


def text(name: str) -> str:
    return f"hr_{name:0<12}_{SECRET}"


#: method, path, the least role, whether the thing belongs to a tenant
ROUTES = [
    ("POST", "/v1/models/echo/jobs", "submit", False),
    ("POST", "/v1/models/echo/jobs/batch", "submit", False),
    ("GET", "/v1/jobs", "read", False),
    ("GET", "/v1/jobs/{job}", "read", True),
    ("POST", "/v1/jobs/{job}/cancel", "submit", True),
    ("POST", "/v1/jobs/{job}/retry", "submit", True),
    ("DELETE", "/v1/jobs/{job}", "submit", True),
    ("GET", "/v1/batches/{batch}", "read", True),
    ("GET", "/v1/models", "read", False),
    ("GET", "/v1/models/echo", "read", False),
    ("GET", "/v1/models/echo/scale", "read", False),
    ("GET", "/v1/admin/keys", "admin", False),
    ("POST", "/v1/admin/keys", "admin", False),
    ("DELETE", "/v1/admin/keys/nothing", "admin", False),
    ("GET", "/v1/jobs/{job}/webhooks", "read", True),
    ("GET", "/v1/batches/{batch}/webhooks", "read", True),
    ("GET", "/v1/admin/webhook-secrets", "admin", False),
    ("POST", "/v1/admin/webhook-secrets", "admin", False),
    ("POST", "/v1/admin/webhook-secrets/nobody/rotate", "admin", False),
    ("DELETE", "/v1/admin/webhook-secrets/nobody", "admin", False),
    ("GET", "/v1/admin/webhook-endpoints", "admin", False),
    ("POST", "/v1/admin/webhook-endpoints/nothing/enable", "admin", False),
    ("GET", "/v1/admin/dead/webhooks", "admin", False),
    ("POST", "/v1/admin/dead/webhooks/nothing/replay", "admin", False),
    ("DELETE", "/v1/admin/dead/webhooks/nothing", "admin", False),
]
RANK = {"read": 0, "submit": 1, "admin": 2}


class Guarded:
    """An API with keys, and a job and a batch of the tenant `default`."""

    def __init__(self, api: Api) -> None:
        self.api = api
        submit = api.with_key(text("submit"))
        self.job = submit.submit("echo", {"message": 1})["id"]
        body = {"inputs": [{"message": 1}]}
        made = submit.call("POST", "/v1/models/echo/jobs/batch", json=body)
        self.batch = made.json()["batch"]

    def call(self, method: str, path: str, key: str | None) -> httpx.Response:
        """Call a route as it is called rightly, but for the key."""
        body = {"inputs": [{"message": 1}]} if path.endswith("batch") else {"input": {"message": 1}}
        given = {"json": {} if "admin" in path else body} if method == "POST" else {}
        path = path.format(job=self.job, batch=self.batch)
        return self.api.with_key(key).call(method, path, **given)


@pytest.fixture(scope="module")
def guarded() -> Iterator[Guarded]:
    """An API whose keys come from a file; echo has been there and gone: nothing runs."""
    with Stack() as stack:
        lines = [f"{text(name)} {role} {tenant} {name}" for name, (role, tenant) in KEYS.items()]
        keys = stack.folder / "keys"
        keys.write_text("# the first keys\n\n" + "\n".join(lines) + "\n")
        api = stack.api(keys_file=str(keys))
        worker = stack.worker(EXAMPLES / "echo")
        api.ready("echo")
        worker.stop()
        admin = api.with_key(text("admin"))
        assert admin.call("DELETE", "/v1/admin/keys/revoked00000").status_code == 204
        yield Guarded(api)


def routes(test: object) -> object:
    """Run a test for every route."""
    names = ("method", "path", "role", "owned")
    return pytest.mark.parametrize(names, ROUTES, ids=[f"{r[0]} {r[1]}" for r in ROUTES])(test)


@routes
def test_without_a_key(guarded: Guarded, method: str, path: str, role: str, owned: bool) -> None:
    answer = guarded.call(method, path, None)
    problem(answer, 401, "unauthorized")
    assert answer.headers["www-authenticate"].startswith("Bearer")


@routes
def test_with_a_bad_key(guarded: Guarded, method: str, path: str, role: str, owned: bool) -> None:
    for key in ("nonsense", f"hr_{'admin':0<12}_{'x' * 43}", f"hr_{'z' * 12}_{SECRET}"):
        problem(guarded.call(method, path, key), 401, "unauthorized")


@routes
def test_with_a_revoked_key(
    guarded: Guarded, method: str, path: str, role: str, owned: bool
) -> None:
    problem(guarded.call(method, path, text("revoked")), 401, "unauthorized")


@routes
def test_with_too_small_a_role(
    guarded: Guarded, method: str, path: str, role: str, owned: bool
) -> None:
    for name in ("read", "submit"):
        answer = guarded.call(method, path, text(name))
        if RANK[name] < RANK[role]:
            problem(answer, 403, "forbidden")
        else:
            assert answer.status_code not in (401, 403), answer.text


@routes
def test_another_tenants_thing_is_not_there(
    guarded: Guarded, method: str, path: str, role: str, owned: bool
) -> None:
    answer = guarded.call(method, path, text("other"))
    if owned:
        problem(answer, 404, "no_such_batch" if "batch" in path else "no_such_job")
    elif role == "admin":
        problem(answer, 403, "forbidden")
    else:
        assert answer.status_code in (200, 202)


def test_lists_show_only_ones_own(guarded: Guarded) -> None:
    other = guarded.api.with_key(text("other"))
    mine = other.submit("echo", {"message": "of the other"})["id"]
    seen = other.call("GET", "/v1/jobs", params={"limit": 100}).json()["data"]
    assert mine in {job["id"] for job in seen}
    assert guarded.job not in {job["id"] for job in seen}
    asked = other.call("GET", "/v1/jobs", params={"ids": guarded.job}).json()["data"]
    assert asked == []
    batch = other.call("GET", "/v1/jobs", params={"batch": guarded.batch})
    assert batch.status_code == 404 or batch.json()["data"] == []


def test_tenants_do_not_share_idempotency_keys(guarded: Guarded) -> None:
    header = {"Idempotency-Key": "shared-by-chance"}
    made = [
        guarded.api.with_key(text(name)).post("echo", {"message": 1}, headers=header)
        for name in ("submit", "other")
    ]
    assert made[0].json()["id"] != made[1].json()["id"]


@pytest.mark.parametrize("path", ["/livez", "/healthz"])
def test_probes_are_open(guarded: Guarded, path: str) -> None:
    assert guarded.api.status(path) == 200


def test_a_revoked_key_is_refused_within_five_seconds(guarded: Guarded) -> None:
    spent = guarded.api.with_key(text("spent"))
    assert spent.status("/v1/models") == 200
    admin = guarded.api.with_key(text("admin"))
    assert admin.call("DELETE", "/v1/admin/keys/spent0000000").status_code == 204
    began = time.monotonic()
    until(lambda: spent.status("/v1/models") == 401, 6)
    assert time.monotonic() - began <= 5


def test_a_key_made_over_http_works_and_is_shown_once(guarded: Guarded) -> None:
    admin = guarded.api.with_key(text("admin"))
    made = admin.call("POST", "/v1/admin/keys", json={"tenant": "third", "role": "submit"})
    assert made.status_code == 201
    until(lambda: guarded.api.with_key(made.json()["key"]).status("/v1/models") == 200, 6)
    listed = admin.call("GET", "/v1/admin/keys").json()["data"]
    assert made.json()["id"] in [key["id"] for key in listed]
    assert made.json()["key"].split("_")[2] not in json.dumps(listed)
    assert SECRET not in json.dumps(listed)


def test_secrets_are_neither_in_redis_nor_in_logs(guarded: Guarded) -> None:
    assert SECRET not in guarded.api.process.said()
    folder = guarded.api.process.log.parent
    for written in folder.rglob("*.aof"):
        assert SECRET.encode() not in written.read_bytes()


def test_off_loopback_without_a_key_is_refused(own_stack: Stack) -> None:
    with pytest.raises(RuntimeError, match="insecure"):
        own_stack.api(api_host="0.0.0.0")


def test_off_loopback_without_a_key_runs_when_told_to(own_stack: Stack) -> None:
    api = own_stack.api(api_host="0.0.0.0", insecure="true")
    assert api.status("/v1/models") == 200


def command(stack: Stack, *words: str) -> str:
    """Run `headrace keys` on the stack's Redis and return what it printed."""
    done = stack.run("keys-" + words[0], "headrace", "keys", *words, redis_url=stack.redis_url)
    until(lambda: done.exit_code is not None, 30)
    assert done.exit_code == 0, done.said()
    return done.said()


def test_keys_by_command(own_stack: Stack) -> None:
    api = own_stack.api()
    key = json.loads(command(own_stack, "create", "--json"))["key"]
    until(lambda: api.status("/v1/models") == 401, 6)
    assert api.with_key(key).status("/v1/models") == 200
    identifier = key.split("_")[1]
    assert identifier in command(own_stack, "ls")
    command(own_stack, "revoke", identifier)
    until(lambda: api.with_key(key).status("/v1/models") == 401, 6)
