"""Pages of jobs, newest first, over every shard and model of a tenant."""

from __future__ import annotations

import heapq
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import cast

from jobs import keys
from jobs.connection import RedisConnections, translated
from jobs.errors import MalformedRequest, NoSuchBatch
from jobs.ids import shard_of, shard_text, time_part
from jobs.job import Batch, Job, Page
from jobs.states import Status

#: Records looked at for one page at the most; a rare status gets a short page and a cursor.
_SCAN = 2000
#: Records looked at together, so that a short page of a rare status takes few rounds.
_STRIDE = 100
#: Bytes of payload from which a page is cut short.
_PAGE_BYTES = 8 << 20
_READ_PAGE = 32
_CURSOR = re.compile(r"[0-9a-v]{26}")

Reader = Callable[[Sequence[str]], Awaitable[list[Job | None]]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Filter:
    """What a list asks for; `models` maps each model to the shards that it lives on."""

    tenant: str
    models: dict[str, Sequence[int]]
    status: Status | None = None
    batch: str | None = None
    ids: Sequence[str] | None = None


class Listing:
    """Reads indexes; the records behind them come through the queue's own reader."""

    def __init__(self, connections: RedisConnections, read: Reader) -> None:
        self._connections = connections
        self._read = read

    async def page(self, wanted: Filter, *, limit: int, cursor: str | None = None) -> Page:
        """Return up to `limit` jobs older than the cursor.

        Raises MalformedRequest for a cursor that no list gave.
        """
        if cursor is not None and not _CURSOR.fullmatch(cursor):
            raise MalformedRequest("`cursor` is not one that a list returned as `next_cursor`.")
        if wanted.ids is not None:
            found = await self._read(wanted.ids)
            return Page([job for job in found if job and _fits(job, wanted)], None)
        indexes = self._indexes(wanted)
        jobs: list[Job] = []
        scanned = size = 0
        while scanned < _SCAN:
            # One more than looked at tells whether there is a next page.
            ids = await self._newest(indexes, cursor, max(limit, _STRIDE) + 1)
            more, ids = len(ids) > max(limit, _STRIDE), ids[: max(limit, _STRIDE)]
            scanned += len(ids)
            async for job in self._in_order(ids):
                cursor = time_part(job.id)
                if not _fits(job, wanted):
                    continue
                jobs.append(job)
                size += len(job.input or b"") + len(job.output or b"")
                if len(jobs) == limit or size > _PAGE_BYTES:
                    return Page(jobs, cursor if more or job.id != ids[-1] else None)
            if not more:
                return Page(jobs, None)
            cursor = time_part(ids[-1])
        return Page(jobs, cursor)

    async def _in_order(self, ids: Sequence[str]) -> AsyncIterator[Job]:
        for start in range(0, len(ids), _READ_PAGE):
            for job in await self._read(ids[start : start + _READ_PAGE]):
                if job is not None:
                    yield job

    def _indexes(self, wanted: Filter) -> list[tuple[int, str]]:
        namespace = self._connections.namespace
        if wanted.batch is not None:
            shard = shard_of(wanted.batch, "bat")
            if shard is None:
                return []
            return [(shard, f"{keys.shard_prefix(namespace, shard)}batch:{wanted.batch}:jobs")]
        return [
            (shard, f"{keys.shard_prefix(namespace, shard)}index:{wanted.tenant}:{model}")
            for model, shards in wanted.models.items()
            for shard in shards
        ]

    async def _newest(
        self, indexes: Iterable[tuple[int, str]], cursor: str | None, count: int
    ) -> list[str]:
        pages = []
        with translated():
            for shard, index in indexes:
                top = "+" if cursor is None else f"(job_{shard_text(shard)}{cursor}"
                page = await self._connections.client.zrevrangebylex(index, top, "-", 0, count)
                pages.append([member.decode() for member in cast(list[bytes], page)])
        merged = heapq.merge(*pages, key=time_part, reverse=True)
        return [identifier for _, identifier in zip(range(count), merged, strict=False)]

    async def all_of_batch(self, batch: str, tenant: str) -> list[Job]:
        """Return the jobs of a batch that are still kept, in the order of its inputs."""
        found = await read_batch(self._connections, batch)
        if found is None or found.tenant != tenant:
            raise NoSuchBatch(f"There is no batch {batch}.")
        wanted = Filter(tenant=tenant, models={}, batch=batch)
        ids = await self._newest(self._indexes(wanted), None, found.total)
        return [job for job in await self._read(ids[::-1]) if job is not None]


def _fits(job: Job, wanted: Filter) -> bool:
    return (
        job.tenant == wanted.tenant
        and (not wanted.models or job.model in wanted.models)
        and (wanted.status is None or job.status is wanted.status)
        and (wanted.batch is None or job.batch == wanted.batch)
    )


async def read_batch(connections: RedisConnections, identifier: str) -> Batch | None:
    """Return a batch's record, or None."""
    shard = shard_of(identifier, "bat")
    if shard is None:
        return None
    key = f"{keys.shard_prefix(connections.namespace, shard)}batch:{identifier}"
    with translated():
        found = cast(dict[bytes, bytes], await connections.client.hgetall(key))
    if not found:
        return None
    return batch_of(identifier, {name.decode(): value.decode() for name, value in found.items()})


def batch_of(identifier: str, record: Mapping[str, str]) -> Batch:
    """Return a batch from its record."""
    batch = Batch(
        id=identifier,
        model=record["model"],
        tenant=record["tenant"],
        total=int(record["total"]),
        created_at=int(record["created_at"]),
        counts={status: int(record.get(status, 0)) for status in Status},
    )
    finished = record.get("finished_at")
    return replace(batch, finished_at=int(finished)) if finished else batch
