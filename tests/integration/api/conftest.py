"""The API's application in the test's own loop, with a real Redis and a worker made by hand."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx
import pytest
from pydantic import BaseModel, ConfigDict

from api.app import Application, create_app
from api.settings import ApiSettings
from jobs.cards import CardStore
from jobs.connection import RedisConnections
from jobs.keystore import KeyStore, Role
from jobs.policy import QueueOptions
from jobs.shards import shards_for_model
from jobs.worker_queue import Claimed, Outcome, WorkerQueue
from model_store.card import Card
from model_store.limits import Limits

#: Without a key the API answers to this machine's own names alone.
HERE = "http://localhost"


class EchoInput(BaseModel):
    """The input of the model that the tests submit to."""

    model_config = ConfigDict(extra="forbid")

    text: str
    count: int = 1


def card_of(model: str, version: str = "1", **fields: Any) -> Card:
    """Return a card as a worker would publish it."""
    values: dict[str, Any] = {
        "name": model,
        "version": version,
        "description": f"The model {model}.",
        "input_schema": EchoInput.model_json_schema(),
        "output_schema": {"type": "object"},
        "limits": Limits(timeout_s=120),
        "example": {"text": "hello"},
        "shards": tuple(shards_for_model(model)),
    }
    return Card(**{**values, **fields})


class Api:
    """A running application and a client of it."""

    def __init__(
        self, app: Application, client: httpx.AsyncClient, redis: RedisConnections
    ) -> None:
        self.app = app
        self.client = client
        self.redis = redis

    async def publish(
        self, model: str = "echo", version: str = "1", *, refresh: bool = True, **fields: Any
    ) -> None:
        """Publish a card, and let the application see it at once."""
        card = card_of(model, version, **fields)
        await CardStore(self.redis).publish(card.to_json(), model=model, version=version)
        assert self.app.front is not None
        if refresh:
            await self.app.front.cards.refresh()

    async def key(self, tenant: str = "default", role: Role = Role.SUBMIT) -> dict[str, str]:
        """Make a key; return the header that carries it."""
        text, _ = await KeyStore(self.redis).create(tenant=tenant, role=role)
        await self.refresh_keys()
        return {"authorization": f"Bearer {text}"}

    async def refresh_keys(self) -> None:
        """Let the application see the keys now."""
        assert self.app.front is not None
        await self.app.front.ring.refresh()

    async def submit(self, given: Any = None, /, **options: Any) -> dict[str, Any]:
        """Submit to `echo`; return the job."""
        body = {"input": {"text": "hello"} if given is None else given, **options}
        answer = await self.client.post("/v1/models/echo/jobs", json=body)
        assert answer.status_code == 202, answer.text
        found: dict[str, Any] = answer.json()
        return found

    async def get(self, job: dict[str, Any] | str) -> dict[str, Any]:
        """Return a job as it is now."""
        identifier = job if isinstance(job, str) else job["id"]
        found: dict[str, Any] = (await self.client.get(f"/v1/jobs/{identifier}")).json()
        return found

    async def until(self, path: str, status: int, headers: dict[str, str] | None = None) -> None:
        """Ask until the answer has this status."""
        async with asyncio.timeout(10):
            answer = await self.client.get(path, headers=headers)
            while answer.status_code != status:
                await asyncio.sleep(0.05)
                answer = await self.client.get(path, headers=headers)

    async def worker(self, model: str = "echo", version: str = "1", name: str = "hand") -> Hand:
        """Return a registered worker that does what the test says."""
        queue = WorkerQueue(
            self.redis,
            QueueOptions(),
            model=model,
            version=version,
            shards=shards_for_model(model),
            worker=f"{model}-{name}",
        )
        await queue.register({"name": f"{model}-{name}", "device": "cpu", "state": "ready"})
        return Hand(queue)


class Hand:
    """A worker moved by hand."""

    def __init__(self, queue: WorkerQueue) -> None:
        self.queue = queue

    async def take(self, count: int = 1) -> list[Claimed]:
        """Claim jobs and start them."""
        return await self.queue.claim(count, start=True)

    async def take_soon(self, count: int = 1) -> list[Claimed]:
        """Claim and start as many jobs as come within a few seconds."""
        jobs: list[Claimed] = []
        async with asyncio.timeout(10):
            while len(jobs) < count:
                jobs += await self.take(count - len(jobs))
                await asyncio.sleep(0.01)
        return jobs

    async def end(self, jobs: list[Claimed], kind: str = "succeeded", payload: Any = None) -> None:
        """Settle jobs."""
        text = json.dumps(payload if payload is not None else {"done": True}).encode()
        await self.queue.settle([Outcome(job.id, job.token, kind, text) for job in jobs])

    async def run(self, kind: str = "succeeded", payload: Any = None, count: int = 1) -> None:
        """Claim, start and settle."""
        jobs = await self.take(count)
        assert len(jobs) == count
        await self.end(jobs, kind, payload)


Opening = Callable[..., contextlib.AbstractAsyncContextManager[Api]]


@pytest.fixture
def opening(redis_url: str) -> Opening:
    """A way to start an application with settings of one's own."""

    @contextlib.asynccontextmanager
    async def start(url: str = redis_url, **settings: Any) -> AsyncIterator[Api]:
        app = create_app(ApiSettings(redis_url=url, **settings))
        transport = httpx.ASGITransport(app, raise_app_exceptions=False)
        async with (
            app.router.lifespan_context(app),
            httpx.AsyncClient(transport=transport, base_url=HERE, timeout=30) as client,
            RedisConnections(url) as redis,
        ):
            yield Api(app, client, redis)

    return start


@pytest.fixture
async def api(opening: Opening) -> AsyncIterator[Api]:
    """An open application with the model `echo`."""
    async with opening() as running:
        await running.publish()
        yield running
