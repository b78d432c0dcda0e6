"""The client for asyncio programs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from typing import Any, Self, TypeVar, Unpack

import httpx

from headrace.client import flows
from headrace.client.connection import RETRIES, http_options
from headrace.client.exchange import Flow, Pause
from headrace.client.flows import Data, DeadOptions, ListOptions, SubmitOptions
from headrace.client.view import JobView, outputs
from headrace.client.webhooks import AsyncWebhooks

T = TypeVar("T")

Card = dict[str, Any]
Cards = list[Card]


class AsyncClient:
    """Submits jobs to a Headrace server and reads their results.

    Every call is tried again when the server cannot be reached or asks for patience; all tries
    of a submit carry one Idempotency-Key, so that they make one job.
    """

    def __init__(
        self,
        url: str | None = None,
        key: str | None = None,
        *,
        retries: int = RETRIES,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.retries = retries
        self.jobs = AsyncJobs(self)
        self.models = AsyncModels(self)
        self.dead = AsyncDead(self)
        self.webhooks = AsyncWebhooks(self)
        self._http = httpx.AsyncClient(**http_options(url, key), transport=transport)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def submit(self, model: str, input: Any, **options: Unpack[SubmitOptions]) -> AsyncJob:
        """Submit one job; it is on the server's disk when this returns."""
        return AsyncJob(self, await self.run(flows.submit(model, input, options, self.retries)))

    async def map(
        self,
        model: str,
        inputs: Iterable[Any],
        *,
        return_exceptions: bool = False,
        **options: Unpack[SubmitOptions],
    ) -> list[Any]:
        """Return the outputs in the order of the inputs.

        The first job that failed is raised, or stands as JobFailed in the list if asked so.
        """
        done = await self.run(flows.map_inputs(model, inputs, options, self.retries))
        return outputs(done, return_exceptions)

    async def run(self, flow: Flow[T]) -> T:
        """Do what a flow asks for."""
        try:
            step = next(flow)
            while True:
                if isinstance(step, Pause):
                    await asyncio.sleep(step.seconds)
                    step = next(flow)
                    continue
                try:
                    response = await self._http.send(step.build(self._http))
                except httpx.TransportError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(response)
        except StopIteration as end:
            result: T = end.value
            return result


class AsyncJob(JobView):
    """A job on the server; its fields are as of the last call."""

    def __init__(self, client: AsyncClient, data: dict[str, Any]) -> None:
        super().__init__(data)
        self._client = client

    async def wait(self, timeout: float | None = None) -> Self:  # noqa: ASYNC109
        """Wait until it has succeeded; JobFailed if it ended otherwise, WaitTimeout if not yet."""
        self.data = await self._client.run(flows.wait(self.id, timeout, self._client.retries))
        failure = self.failure()
        if failure is not None:
            raise failure
        return self

    async def refresh(self, wait: int = 0) -> Self:
        """Read it again; up to so many seconds later if it has not ended before."""
        self.data = await self._client.run(flows.get(self.id, self._client.retries, wait))
        return self

    async def cancel(self) -> Self:
        """Ask for its end; a running job is `canceling` until its batch has let go of it."""
        self.data = await self._client.run(flows.act(self.id, "cancel", self._client.retries))
        return self

    async def retry(self) -> AsyncJob:
        """Run a job that did not succeed again, as a new job."""
        return await self._client.jobs.retry(self.id)

    async def webhooks(self) -> list[Data]:
        """Read what became of its webhook: deliveries with their tries, oldest first."""
        return await self._client.webhooks.list(self.id)

    async def replay(self, webhook_id: str) -> Data:
        """Send one of its deliveries again."""
        return await self._client.webhooks.replay(self.id, webhook_id)

    async def delete(self) -> None:
        """Erase a job that has ended."""
        await self._client.jobs.delete(self.id)


class AsyncPage(list[AsyncJob]):
    """Some jobs, newest first, and where the next ones begin."""

    next_cursor: str | None = None


class AsyncJobs:
    """The jobs of the key's tenant."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def get(self, job_id: str) -> AsyncJob:
        """Read one job."""
        return AsyncJob(
            self._client, await self._client.run(flows.get(job_id, self._client.retries))
        )

    async def list(self, **options: Unpack[ListOptions]) -> AsyncPage:
        """Read one page."""
        answer = await self._client.run(flows.list_jobs(options, self._client.retries))
        page = AsyncPage(AsyncJob(self._client, data) for data in answer["data"])
        page.next_cursor = answer.get("next_cursor")
        return page

    async def all(self, **options: Unpack[ListOptions]) -> AsyncIterator[AsyncJob]:
        """Read page after page."""
        while True:
            page = await self.list(**options)
            for job in page:
                yield job
            if page.next_cursor is None:
                return
            options["cursor"] = page.next_cursor

    async def cancel(self, job_id: str) -> AsyncJob:
        """Ask for the end of a job."""
        flow = flows.act(job_id, "cancel", self._client.retries)
        return AsyncJob(self._client, await self._client.run(flow))

    async def retry(self, job_id: str, idempotency_key: str | None = None) -> AsyncJob:
        """Run a job that did not succeed again, as a new job."""
        flow = flows.act(job_id, "retry", self._client.retries, idempotency_key)
        return AsyncJob(self._client, await self._client.run(flow))

    async def delete(self, job_id: str) -> None:
        """Erase a job that has ended."""
        await self._client.run(flows.delete(job_id, self._client.retries))


class AsyncModels:
    """The models the server knows."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def get(self, name: str) -> Card:
        """Read one model's card and state."""
        return await self._client.run(flows.model(name, self._client.retries))

    async def list(self) -> Cards:
        """Read every model's card and state."""
        return await self._client.run(flows.models(self._client.retries))


class AsyncDead:
    """Jobs of all tenants that failed or timed out; for keys of the role admin."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def get(self, job_id: str) -> Data:
        """Read one, with each attempt that was made."""
        return await self._client.run(flows.get_dead(job_id, self._client.retries))

    async def all(self, model: str | None = None) -> AsyncIterator[Data]:
        """Read page after page, the last to end first."""
        cursor = None
        while True:
            flow = flows.list_dead({"model": model, "cursor": cursor}, self._client.retries)
            answer = await self._client.run(flow)
            for letter in answer["data"]:
                yield letter
            cursor = answer["next_cursor"]
            if cursor is None:
                return

    async def retry(self, **chosen: Unpack[DeadOptions]) -> list[Data]:
        """Run them again as new jobs, each once however often it is asked."""
        return await self._client.run(flows.dead("retry", chosen, self._client.retries))

    async def purge(self, **chosen: Unpack[DeadOptions]) -> list[Data]:
        """Erase them."""
        return await self._client.run(flows.dead("purge", chosen, self._client.retries))
