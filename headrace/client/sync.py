"""The client for programs that wait."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any, Self, TypeVar, Unpack

import httpx

from headrace.client import flows
from headrace.client.connection import RETRIES, http_options
from headrace.client.exchange import Flow, Pause
from headrace.client.flows import Data, DeadOptions, ListOptions, SubmitOptions
from headrace.client.view import JobView, outputs
from headrace.client.webhooks import Webhooks

T = TypeVar("T")

Card = dict[str, Any]
Cards = list[Card]


class Client:
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
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        self.retries = retries
        self.jobs = Jobs(self)
        self.models = Models(self)
        self.dead = Dead(self)
        self.webhooks = Webhooks(self)
        self._http = httpx.Client(**http_options(url, key), transport=transport)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def submit(self, model: str, input: Any, **options: Unpack[SubmitOptions]) -> Job:
        """Submit one job; it is on the server's disk when this returns."""
        return Job(self, self.run(flows.submit(model, input, options, self.retries)))

    def map(
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
        done = self.run(flows.map_inputs(model, inputs, options, self.retries))
        return outputs(done, return_exceptions)

    def run(self, flow: Flow[T]) -> T:
        """Do what a flow asks for."""
        try:
            step = next(flow)
            while True:
                if isinstance(step, Pause):
                    time.sleep(step.seconds)
                    step = next(flow)
                    continue
                try:
                    response = self._http.send(step.build(self._http))
                except httpx.TransportError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(response)
        except StopIteration as end:
            result: T = end.value
            return result


class Job(JobView):
    """A job on the server; its fields are as of the last call."""

    def __init__(self, client: Client, data: dict[str, Any]) -> None:
        super().__init__(data)
        self._client = client

    def wait(self, timeout: float | None = None) -> Self:
        """Wait until it has succeeded; JobFailed if it ended otherwise, WaitTimeout if not yet."""
        self.data = self._client.run(flows.wait(self.id, timeout, self._client.retries))
        failure = self.failure()
        if failure is not None:
            raise failure
        return self

    def refresh(self, wait: int = 0) -> Self:
        """Read it again; up to so many seconds later if it has not ended before."""
        self.data = self._client.run(flows.get(self.id, self._client.retries, wait))
        return self

    def cancel(self) -> Self:
        """Ask for its end; a running job is `canceling` until its batch has let go of it."""
        self.data = self._client.run(flows.act(self.id, "cancel", self._client.retries))
        return self

    def retry(self) -> Job:
        """Run a job that did not succeed again, as a new job."""
        return self._client.jobs.retry(self.id)

    def webhooks(self) -> list[Data]:
        """Read what became of its webhook: deliveries with their tries, oldest first."""
        return self._client.webhooks.list(self.id)

    def replay(self, webhook_id: str) -> Data:
        """Send one of its deliveries again."""
        return self._client.webhooks.replay(self.id, webhook_id)

    def delete(self) -> None:
        """Erase a job that has ended."""
        self._client.jobs.delete(self.id)


class Page(list[Job]):
    """Some jobs, newest first, and where the next ones begin."""

    next_cursor: str | None = None


class Jobs:
    """The jobs of the key's tenant."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def get(self, job_id: str) -> Job:
        """Read one job."""
        return Job(self._client, self._client.run(flows.get(job_id, self._client.retries)))

    def list(self, **options: Unpack[ListOptions]) -> Page:
        """Read one page."""
        answer = self._client.run(flows.list_jobs(options, self._client.retries))
        page = Page(Job(self._client, data) for data in answer["data"])
        page.next_cursor = answer.get("next_cursor")
        return page

    def all(self, **options: Unpack[ListOptions]) -> Iterator[Job]:
        """Read page after page."""
        while True:
            page = self.list(**options)
            yield from page
            if page.next_cursor is None:
                return
            options["cursor"] = page.next_cursor

    def cancel(self, job_id: str) -> Job:
        """Ask for the end of a job."""
        flow = flows.act(job_id, "cancel", self._client.retries)
        return Job(self._client, self._client.run(flow))

    def retry(self, job_id: str, idempotency_key: str | None = None) -> Job:
        """Run a job that did not succeed again, as a new job."""
        flow = flows.act(job_id, "retry", self._client.retries, idempotency_key)
        return Job(self._client, self._client.run(flow))

    def delete(self, job_id: str) -> None:
        """Erase a job that has ended."""
        self._client.run(flows.delete(job_id, self._client.retries))


class Models:
    """The models the server knows."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def get(self, name: str) -> Card:
        """Read one model's card and state."""
        return self._client.run(flows.model(name, self._client.retries))

    def list(self) -> Cards:
        """Read every model's card and state."""
        return self._client.run(flows.models(self._client.retries))


class Dead:
    """Jobs of all tenants that failed or timed out; for keys of the role admin."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def get(self, job_id: str) -> Data:
        """Read one, with each attempt that was made."""
        return self._client.run(flows.get_dead(job_id, self._client.retries))

    def all(self, model: str | None = None) -> Iterator[Data]:
        """Read page after page, the last to end first."""
        cursor = None
        while True:
            flow = flows.list_dead({"model": model, "cursor": cursor}, self._client.retries)
            answer = self._client.run(flow)
            yield from answer["data"]
            cursor = answer["next_cursor"]
            if cursor is None:
                return

    def retry(self, **chosen: Unpack[DeadOptions]) -> list[Data]:
        """Run them again as new jobs, each once however often it is asked."""
        return self._client.run(flows.dead("retry", chosen, self._client.retries))

    def purge(self, **chosen: Unpack[DeadOptions]) -> list[Data]:
        """Erase them."""
        return self._client.run(flows.dead("purge", chosen, self._client.retries))
