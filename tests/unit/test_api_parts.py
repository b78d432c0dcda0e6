"""The small parts of the API: bodies, keys, figures, lean routes, settings."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

import httpx
import pytest
from fastapi import APIRouter, Depends, FastAPI, Query
from pydantic import BaseModel, Field
from starlette.requests import ClientDisconnect, Request
from starlette.responses import PlainTextResponse, Response
from starlette.types import Message

from api.auth import ANYBODY, Doorkeeper
from api.body import read_body
from api.lean_route import LeanRoute, LeanRouter
from api.load import LoadWatch, seconds_until_started, wanted_workers
from api.middleware import Edge
from api.problems import PayloadTooLarge
from api.routes.models import model_state
from api.settings import ApiSettings, is_loopback
from jobs.errors import Forbidden, QueueUnavailable, Unauthorized
from jobs.keystore import KeyRecord, Role
from jobs.overview import ModelOverview, WorkerInfo


def receiving(*messages: Message) -> Any:
    rest = list(messages)

    async def receive() -> Message:
        return rest.pop(0)

    return receive


def chunk(body: bytes, *, more: bool = False) -> Message:
    return {"type": "http.request", "body": body, "more_body": more}


async def test_a_body_is_read_whole_in_one_piece_or_many() -> None:
    assert await read_body(receiving(chunk(b"abc")), b"3", 10) == b"abc"
    pieces = receiving(chunk(b"a", more=True), chunk(b"", more=True), chunk(b"bc"))
    assert await read_body(pieces, None, 3) == b"abc"


@pytest.mark.parametrize(
    ("announced", "messages"),
    [
        (b"11", []),
        (None, [chunk(b"x" * 11)]),
        (None, [chunk(b"x" * 6, more=True), chunk(b"x" * 5, more=True)]),
        (None, [chunk(b"x" * 6, more=True), chunk(b"x" * 5)]),
    ],
)
async def test_a_body_over_the_limit_is_refused_as_soon_as_it_is_known(
    announced: bytes | None, messages: list[Message]
) -> None:
    with pytest.raises(PayloadTooLarge):
        await read_body(receiving(*messages), announced, 10)


async def test_a_client_that_went_away_sent_no_body() -> None:
    with pytest.raises(ClientDisconnect):
        await read_body(receiving({"type": "http.disconnect"}), None, 10)
    half = receiving(chunk(b"a", more=True), {"type": "http.disconnect"}, chunk(b""))
    with pytest.raises(ClientDisconnect):
        await read_body(half, None, 10)


class Ring:
    """A key ring of one key."""

    known = True
    any = True

    def authenticate(self, text: str) -> KeyRecord | None:
        if text != "right":
            return None
        return KeyRecord("k", "acme", Role.SUBMIT, "", "", 0)


def test_a_key_opens_what_its_role_may() -> None:
    door = Doorkeeper(Ring(), may_be_open=True)  # type: ignore[arg-type]
    assert door.admit(b"Bearer right", Role.READ).tenant == "acme"
    assert door.admit(b"bearer  right", Role.SUBMIT).key_id == "k"
    with pytest.raises(Forbidden):
        door.admit(b"Bearer right", Role.ADMIN)
    for bad in (None, b"", b"Bearer", b"Bearer wrong", b"Basic right", b"right"):
        with pytest.raises(Unauthorized):
            door.admit(bad, Role.READ)


def test_the_door_is_open_only_while_no_key_was_ever_made() -> None:
    ring = Ring()
    ring.any = False
    assert Doorkeeper(ring, may_be_open=True).admit(None, Role.ADMIN) == ANYBODY  # type: ignore[arg-type]
    with pytest.raises(Unauthorized):
        Doorkeeper(ring, may_be_open=False).admit(None, Role.READ)  # type: ignore[arg-type]
    ring.known = False
    with pytest.raises(QueueUnavailable):
        Doorkeeper(ring, may_be_open=True).admit(None, Role.READ)  # type: ignore[arg-type]


def worker(state: str, reason: str = "") -> WorkerInfo:
    return WorkerInfo("w", "w:1", "1", state, reason, "cpu", 0)


def overview(queued: int, running: int, ready: int, each: float | None) -> ModelOverview:
    return ModelOverview(queued, running, each, 0.0, [worker("ready")] * ready)


@pytest.mark.parametrize(
    ("figures", "wanted"),
    [
        (overview(0, 0, 3, 1.0), 0),
        (overview(0, 1, 1, 1.0), 1),
        (overview(1, 0, 0, None), 1),
        (overview(600, 0, 0, 1.0), 10),
        (overview(600, 0, 5, 1.0), 10),
        (overview(601, 0, 5, 1.0), 11),
        (overview(2, 0, 0, 600.0), 2),
    ],
)
def test_as_many_workers_are_wanted_as_clear_the_queue_in_a_minute(
    figures: ModelOverview, wanted: int
) -> None:
    assert wanted_workers(figures) == wanted


def test_no_fewer_are_wanted_than_have_jobs_in_their_hands() -> None:
    workers = [replace(worker("ready"), holds=1)] * 3 + [worker("ready")] * 4
    assert wanted_workers(ModelOverview(0, 3, 1.0, 0.0, workers)) == 3
    leaving = [replace(worker("draining"), holds=1)] * 3
    assert wanted_workers(ModelOverview(0, 3, 1.0, 0.0, leaving)) == 1


def test_nobody_knows_when_a_cold_model_starts() -> None:
    assert seconds_until_started(overview(4, 0, 2, 0.5), 4) == 1.0
    assert seconds_until_started(overview(4, 0, 0, 0.5), 4) is None
    assert seconds_until_started(overview(4, 0, 1, None), 4) is None
    assert seconds_until_started(None, 4) is None


@pytest.mark.parametrize(
    ("states", "shown"),
    [
        ([], "cold"),
        (["draining"], "cold"),
        (["failed"], "failed"),
        (["failed", "unready"], "loading"),
        (["failed", "loading"], "loading"),
        (["loading", "ready", "failed"], "ready"),
    ],
)
def test_the_state_of_a_model_is_that_of_its_best_worker(states: list[str], shown: str) -> None:
    state, reason = model_state([worker(each, f"is {each}") for each in states])
    assert state == shown
    assert reason


async def test_figures_are_read_for_models_that_somebody_asks_about() -> None:
    read: list[str] = []

    async def reading(model: str) -> ModelOverview:
        read.append(model)
        return overview(1, 0, 1, 1.0)

    loads = LoadWatch(reading)
    assert loads.known("echo") is None
    await loads.refresh()
    assert loads.known("echo") == overview(1, 0, 1, 1.0)
    assert await loads.now("other") == overview(1, 0, 1, 1.0)
    await loads.refresh()
    assert read == ["echo", "other", "echo"]


async def test_old_figures_are_none_and_forgotten_models_are_not_read(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def reading(model: str) -> ModelOverview:
        return overview(1, 0, 1, 1.0)

    clock = [100.0]
    monkeypatch.setattr("api.load.time.monotonic", lambda: clock[0])
    loads = LoadWatch(reading)
    loads.known("echo")
    await loads.refresh()
    clock[0] += 5.1
    assert loads.known("echo") is None
    clock[0] += 60.1
    await loads.refresh()
    assert loads.known("echo") is None


class Filters(BaseModel):
    limit: int = Field(5, ge=1)


def blocking(request: Request) -> str:
    return request.method


async def who(request: Request) -> str:
    return str(request.headers.get("x-who"))


def lean_app() -> FastAPI:
    router = APIRouter(route_class=LeanRoute)

    @router.get("/things/{name}")
    async def thing(
        request: Request,
        name: str,
        caller: Annotated[str, Depends(who)],
        query: Annotated[Filters, Query()],
    ) -> Response:
        return PlainTextResponse(f"{request.method} {name} {caller} {query.limit}")

    app = FastAPI()
    app.router.routes.extend(router.routes)
    return app


async def test_a_lean_route_fills_what_its_handler_asks_for() -> None:
    app = lean_app()
    seen: list[tuple[str, str, int]] = []
    refused: list[str] = []
    edge = Edge(LeanRouter(app.routes, app), lambda *each: seen.append(each[:3]), refused.append)
    transport = httpx.ASGITransport(edge)
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        found = await client.get("/things/a%40b?limit=7", headers={"x-who": "me"})
        assert found.text == "GET a@b me 7"
        assert (await client.get("/things/x")).text == "GET x None 5"
        assert (await client.get("/things/x?limit=0")).status_code == 422
        assert (await client.post("/things/x")).status_code == 405
        assert (await client.get("/nothing")).status_code == 404
    assert seen[0] == ("GET", "/things/{name}", 200)
    assert seen[-1] == ("GET", "unmatched", 404)
    assert refused == ["invalid_input"]
    parameters = app.openapi()["paths"]["/things/{name}"]["get"]["parameters"]
    assert {each["name"] for each in parameters} >= {"name", "limit"}


def test_a_handler_that_wants_more_is_refused_at_once() -> None:
    router = APIRouter(route_class=LeanRoute)

    async def odd(surprise: str) -> Response:
        return PlainTextResponse(surprise)

    async def blocked(caller: Annotated[str, Depends(blocking)]) -> Response:
        return PlainTextResponse(caller)

    for handler in (odd, blocked):
        with pytest.raises(TypeError):
            router.get("/x")(handler)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "localhost", "::1", "[::1]"])
def test_loopback_may_be_open(host: str) -> None:
    assert is_loopback(host)
    assert ApiSettings(api_host=host).may_be_open


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.1", "example.org", ""])
def test_any_other_address_needs_a_key_or_the_word(host: str) -> None:
    assert not ApiSettings(api_host=host).may_be_open
    assert ApiSettings(api_host=host, insecure=True).may_be_open
