"""The log of deliveries: what callers and administrators can look up, and send again."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import msgspec

from jobs import scripts
from jobs.connection import RedisConnections
from jobs.ended import older, place_of
from jobs.errors import NoSuchWebhook
from jobs.ids import shard_of
from jobs.job import fields_of
from jobs.policy import QueueOptions
from jobs.shards import SHARDS
from jobs.webhook import DeliveryRecord, DeliveryStatus, Endpoint, Try

#: Calls under way at once: a look at all shards must leave connections to others.
_AT_ONCE = 8


@dataclass(frozen=True, slots=True)
class Page:
    """Some deliveries, the last to end first, and where the next page begins."""

    records: list[DeliveryRecord]
    next_cursor: str | None


class DeliveryLog:
    """Reads the deliveries of any shard. Methods raise QueueUnavailable."""

    def __init__(self, connections: RedisConnections, options: QueueOptions) -> None:
        self._connections = connections
        self._options = options

    async def _run(self, script: scripts.Script, shard: int, *args: Any) -> Any:
        return await self._connections.run(script, shard, [*self._options.policy, *args])

    async def of(self, owner: str, tenant: str) -> list[DeliveryRecord]:
        """Return the deliveries of a job (job_…) or batch (bat_…), oldest first; empty if none.

        Those of another tenant are as good as none. They outlive their job.
        """
        shard = shard_of(owner, owner.partition("_")[0])
        if shard is None or owner.startswith("wh_"):
            return []
        rows = await self._run(scripts.CALLS, shard, owner)
        found = [_record(row) for row in rows]
        return [each for each in found if each.owner == owner and each.tenant == tenant]

    async def replay(self, owner: str, delivery: str, tenant: str) -> DeliveryRecord:
        """Make a delivery due at once, whatever became of it; id and body stay.

        Its schedule of tries begins anew, and its endpoint is in service again if it was disabled.
        Raises NoSuchWebhook.
        """
        shard = _shard(delivery)
        if not await self._run(scripts.REPLAY, shard, delivery, owner, tenant):
            raise _missing(delivery)
        return await self.get(delivery)

    async def undelivered(self, *, limit: int, cursor: str | None = None) -> Page:
        """Return deliveries of all tenants that ended `failed` or `disabled`.

        Raises MalformedRequest for a cursor that no page gave.
        """
        start = place_of(cursor)
        places = await older(self._connections, self._options, "undelivered", start, limit + 1)
        more, places = len(places) > limit, places[:limit]
        by_shard: dict[int, list[str]] = {}
        for place in places:
            by_shard.setdefault(_shard(place.id), []).append(place.id)
        found: dict[str, DeliveryRecord] = {}
        for shard, ids in by_shard.items():
            for row in await self._run(scripts.CALLS, shard, "", *ids):
                record = _record(row)
                found[record.id] = record
        records = [found[place.id] for place in places if place.id in found]
        return Page(records, places[-1].cursor() if more else None)

    async def get(self, delivery: str) -> DeliveryRecord:
        """Return a delivery of any tenant; raises NoSuchWebhook."""
        rows = await self._run(scripts.CALLS, _shard(delivery), "", delivery)
        if not rows:
            raise _missing(delivery)
        return _record(rows[0])

    async def purge(self, delivery: str) -> None:
        """Erase a delivery that is not pending, with its log; raises NoSuchWebhook, also while it
        is pending.
        """
        if not await self._run(scripts.UNCALL, _shard(delivery), delivery):
            raise _missing(delivery)

    async def endpoints(self, *, tenant: str | None = None) -> Sequence[Endpoint]:
        """Return the endpoints that are disabled or have failed lately."""
        found: dict[str, Endpoint] = {}
        for row in await self._everywhere(""):
            for identifier, flat in row:
                endpoint = _endpoint(identifier.decode(), fields_of(flat))
                known = found.get(endpoint.id)
                # It may be disabled by what came over one shard, and not yet by another's.
                if known is None or (known.disabled_at is None and endpoint.disabled_at):
                    found[endpoint.id] = endpoint
        shown = [each for each in found.values() if tenant in (None, each.tenant)]
        return sorted(shown, key=lambda each: (each.tenant, each.url))

    async def enable(self, endpoint: str) -> bool:
        """Take a disabled endpoint into service again; False if it was not disabled anywhere.

        What was disabled meanwhile is sent by a replay.
        """
        if not endpoint:
            return False
        return any(await self._everywhere(endpoint))

    async def _everywhere(self, *args: Any) -> list[Any]:
        answers: list[Any] = []
        for first in range(0, SHARDS, _AT_ONCE):
            shards = range(first, min(first + _AT_ONCE, SHARDS))
            asked = {shard: [*self._options.policy, *args] for shard in shards}
            some, failure = await self._connections.run_each(scripts.ENDPOINTS, asked)
            if failure is not None:
                raise failure
            answers += some.values()
        return answers


def _shard(delivery: str) -> int:
    shard = shard_of(delivery, "wh")
    if shard is None:
        raise _missing(delivery)
    return shard


def _missing(delivery: str) -> NoSuchWebhook:
    return NoSuchWebhook(f"There is no delivery {delivery}.")


def _record(row: Sequence[Any]) -> DeliveryRecord:
    identifier, values, tries = row
    owner, tenant, type_, url, endpoint, status, created_at, next_at = (
        "" if value is None else value.decode() for value in values
    )
    return DeliveryRecord(
        id=identifier.decode(),
        owner=owner,
        tenant=tenant,
        type=type_,
        url=url,
        endpoint=endpoint,
        status=DeliveryStatus(status),
        created_at=int(created_at),
        next_at=int(next_at) if next_at else None,
        tries=[msgspec.json.decode(text, type=Try) for text in tries],
    )


def _endpoint(identifier: str, record: dict[str, str]) -> Endpoint:
    failing_since, disabled_at = record.get("failing_since"), record.get("disabled_at")
    return Endpoint(
        id=identifier,
        tenant=record.get("tenant", ""),
        url=record.get("url", ""),
        failing_since=int(failing_since) if failing_since else None,
        disabled_at=int(disabled_at) if disabled_at else None,
        reason=record.get("reason"),
    )
