"""Webhooks as the client sees them: what became of them, and sending one again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from headrace.client.exchange import Flow, Send, exchange

if TYPE_CHECKING:
    from headrace.client.asynchronous import AsyncClient
    from headrace.client.sync import Client

Data = dict[str, Any]
#: By this name where `list` is a method.
Many = list[Data]

_DEAD = "/v1/admin/dead/webhooks"
_ENDPOINTS = "/v1/admin/webhook-endpoints"


def _of(owner: str) -> str:
    kind = "batches" if owner.startswith("bat_") else "jobs"
    return f"/v1/{kind}/{quote(owner)}/webhooks"


def deliveries(owner: str, retries: int) -> Flow[list[Data]]:
    """Read the deliveries of a job or a batch."""
    answer = yield from _json(Send(method="GET", path=_of(owner)), retries)
    return list(answer["data"])


def replay(owner: str, webhook_id: str, retries: int) -> Flow[Data]:
    """Send a delivery again; a try that is repeated finds it due already."""
    path = f"{_of(owner)}/{quote(webhook_id)}/replay"
    return (yield from _json(Send(method="POST", path=path), retries))


def _undelivered(cursor: str | None, retries: int) -> Flow[Data]:
    params: Mapping[str, str] = {} if cursor is None else {"cursor": cursor}
    return (yield from _json(Send(method="GET", path=_DEAD, params=params), retries))


def _replay_undelivered(webhook_id: str, retries: int) -> Flow[Data]:
    request = Send(method="POST", path=f"{_DEAD}/{quote(webhook_id)}/replay")
    return (yield from _json(request, retries))


def _purge(webhook_id: str, retries: int) -> Flow[None]:
    yield from exchange(Send(method="DELETE", path=f"{_DEAD}/{quote(webhook_id)}"), retries)


def _endpoints(retries: int) -> Flow[list[Data]]:
    answer = yield from _json(Send(method="GET", path=_ENDPOINTS), retries)
    return list(answer["data"])


def _enable(endpoint_id: str, retries: int) -> Flow[None]:
    path = f"{_ENDPOINTS}/{quote(endpoint_id)}/enable"
    yield from exchange(Send(method="POST", path=path), retries)


def _json(request: Send, retries: int) -> Flow[Data]:
    response = yield from exchange(request, retries)
    answer: Data = response.json()
    return answer


class Webhooks:
    """Deliveries of a job or batch; from `undelivered` on for keys of the role admin."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def list(self, owner: str) -> list[Data]:
        """Read the deliveries of a job or a batch with their tries, oldest first."""
        return self._client.run(deliveries(owner, self._client.retries))

    def replay(self, owner: str, webhook_id: str) -> Data:
        """Send a delivery again, whatever became of it."""
        return self._client.run(replay(owner, webhook_id, self._client.retries))

    def undelivered(self) -> Iterator[Data]:
        """Read page after page what failed for good, of all tenants, the last to end first."""
        cursor = None
        while True:
            answer = self._client.run(_undelivered(cursor, self._client.retries))
            yield from answer["data"]
            cursor = answer["next_cursor"]
            if cursor is None:
                return

    def replay_undelivered(self, webhook_id: str) -> Data:
        """Send a delivery of any tenant again."""
        return self._client.run(_replay_undelivered(webhook_id, self._client.retries))

    def purge(self, webhook_id: str) -> None:
        """Erase a delivery of any tenant that is not under way."""
        self._client.run(_purge(webhook_id, self._client.retries))

    def endpoints(self) -> Many:
        """Read which endpoints fail or are disabled."""
        return self._client.run(_endpoints(self._client.retries))

    def enable(self, endpoint_id: str) -> None:
        """Send to a disabled endpoint again."""
        self._client.run(_enable(endpoint_id, self._client.retries))


class AsyncWebhooks:
    """Deliveries of a job or batch; from `undelivered` on for keys of the role admin."""

    def __init__(self, client: AsyncClient) -> None:
        self._client = client

    async def list(self, owner: str) -> list[Data]:
        """Read the deliveries of a job or a batch with their tries, oldest first."""
        return await self._client.run(deliveries(owner, self._client.retries))

    async def replay(self, owner: str, webhook_id: str) -> Data:
        """Send a delivery again, whatever became of it."""
        return await self._client.run(replay(owner, webhook_id, self._client.retries))

    async def undelivered(self) -> AsyncIterator[Data]:
        """Read page after page what failed for good, of all tenants, the last to end first."""
        cursor = None
        while True:
            answer = await self._client.run(_undelivered(cursor, self._client.retries))
            for delivery in answer["data"]:
                yield delivery
            cursor = answer["next_cursor"]
            if cursor is None:
                return

    async def replay_undelivered(self, webhook_id: str) -> Data:
        """Send a delivery of any tenant again."""
        return await self._client.run(_replay_undelivered(webhook_id, self._client.retries))

    async def purge(self, webhook_id: str) -> None:
        """Erase a delivery of any tenant that is not under way."""
        await self._client.run(_purge(webhook_id, self._client.retries))

    async def endpoints(self) -> Many:
        """Read which endpoints fail or are disabled."""
        return await self._client.run(_endpoints(self._client.retries))

    async def enable(self, endpoint_id: str) -> None:
        """Send to a disabled endpoint again."""
        await self._client.run(_enable(endpoint_id, self._client.retries))
