"""The queue as the API sees it: submit, read, wait, cancel, delete, sweep."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Sequence
from functools import partial
from types import TracebackType
from typing import Any, Self

from jobs import keys, scripts
from jobs.cards import CardEntry
from jobs.commit import MAX_BYTES, GroupCommit
from jobs.connection import RedisConnections, translated
from jobs.errors import NoSuchBatch, NoSuchJob, NotCancelable, NotDurable, QueueUnavailable
from jobs.ids import new_batch_id, new_job_id, shard_of
from jobs.job import Batch, Canceled, Job, NewJob, Submitted, SubmittedBatch, job_from_row
from jobs.listing import Listing, read_batch
from jobs.policy import QueueOptions
from jobs.shards import idempotency_digest, pick
from jobs.submission import Entry, digest_of, entry_for, fresh, refuse
from jobs.sweeping import sweep
from jobs.waiters import Waiters
from jobs.webhook import batch_webhook

#: So many waiting submits fly beside the group that is under way. Measured with 64 clients: a
#: sixth more submits than with one group at a time, when all clients end up in the same group.
_SECOND_AT = 8
#: Jobs read by one call: with inputs of a megabyte it must not hold up Redis.
_READ_PAGE = 32


class JobQueue:
    """Jobs in Redis; an async context manager that owns its subscription and its groups.

    Every method raises QueueUnavailable when Redis gives no answer.
    """

    def __init__(
        self, connections: RedisConnections, options: QueueOptions, *, process_id: str
    ) -> None:
        self._connections = connections
        self._options = options
        self._submits: dict[int, GroupCommit[Entry, list[bytes]]] = {}
        self._reads: dict[tuple[int, str], GroupCommit[str, Job | None]] = {}
        self._waiters = Waiters(connections, process_id, self._look)
        self.listing = Listing(connections, self.read)

    async def __aenter__(self) -> Self:
        self._waiters.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._waiters.stop()

    @property
    def broken(self) -> list[str]:
        """Which parts have ended by an error that nobody foresaw."""
        return self._waiters.broken

    def drain(self) -> None:
        """Let every held wait return at once with the job as it is."""
        self._waiters.drain()

    async def submit(self, job: NewJob, *, shards: Sequence[int]) -> Submitted:
        """Store a job; when this returns, it is as durable as the setting says.

        Raises IdempotencyConflict, QueueFull, NotDurable.
        """
        entry = entry_for(job, shards)
        return await self._submit(job, entry)

    async def submit_and_wait(
        self, job: NewJob, *, shards: Sequence[int], timeout_s: float
    ) -> Submitted:
        """Store a job and hold until it is final or `timeout_s` is over."""
        entry = entry_for(job, shards, watch=self._waiters.channel)
        # Expected before it exists: it may end before the submit's own answer is here.
        future = self._waiters.expect(entry.id, unborn=True)
        try:
            submitted = await self._submit(job, entry)
            self._waiters.born(entry.id)
            try:
                if submitted.replayed:
                    final = await self.wait(submitted.job.id, job.tenant, timeout_s)
                    return Submitted(final, replayed=True)
                ended = future.result() if await self._held(future, timeout_s) else None
                return Submitted(ended or await self.get(entry.id, job.tenant), replayed=False)
            except (QueueUnavailable, NotDurable):
                # It was accepted; an error now would make the client send it again.
                return submitted
        finally:
            self._waiters.forget(entry.id, future)

    async def _submit(self, job: NewJob, entry: Entry) -> Submitted:
        group = self._submits.get(entry.shard)
        if group is None:
            group = GroupCommit(
                partial(self._commit, entry.shard), size=Entry.bytes, second_at=_SECOND_AT
            )
            self._submits[entry.shard] = group
        verdict, value = await group.add(entry)
        if verdict == b"ok":
            return Submitted(fresh(job, entry.id, int(value)), replayed=False)
        refuse(verdict, value)
        return Submitted(await self.get(value.decode(), job.tenant), replayed=True)

    async def _commit(self, shard: int, entries: list[Entry]) -> list[list[bytes]]:
        args: list[Any] = [*self._options.policy, self._options.max_queue_depth, *[""] * 5]
        for entry in entries:
            args += entry.args
        # After a lost reply it is sent once more: ids make the second call harmless.
        answer: list[list[bytes]] = await self._connections.run(scripts.SUBMIT, shard, args)
        return answer

    async def submit_batch(
        self,
        jobs: Sequence[NewJob],
        *,
        shards: Sequence[int],
        idempotency_key: str | None = None,
        fingerprint: str = "",
    ) -> SubmittedBatch:
        """Store all jobs of a batch or none; they share model and tenant."""
        first = jobs[0]
        digest = digest_of(first, idempotency_key)
        shard = pick(shards, digest or None)
        batch = new_batch_id(shard)
        entries = [Entry(job, new_job_id(shard), shard, "", "") for job in jobs]
        args: list[Any] = [*self._options.policy, self._options.max_queue_depth]
        args += [batch, digest, fingerprint, first.tenant, batch_webhook(first.webhook)]
        for entry in entries:
            args += entry.args
        verdict, value = (await self._connections.run(scripts.SUBMIT, shard, args))[0]
        if verdict == b"ok":
            created = [
                fresh(job, entry.id, int(value), batch)
                for job, entry in zip(jobs, entries, strict=True)
            ]
            return SubmittedBatch(batch, created, replayed=False)
        refuse(verdict, value)
        earlier = value.decode()
        found = await self.listing.all_of_batch(earlier, first.tenant)
        return SubmittedBatch(earlier, found, replayed=True)

    async def home(self, entry: CardEntry, tenant: str, key: str | None) -> Sequence[int]:
        """Return the shards for a job of this model, given as `shards` to a submit.

        Where the number of its shards has changed, a key that is known on a shard of before must
        meet its first request there.
        """
        if key is None or not entry.earlier:
            return entry.shards
        digest = idempotency_digest(tenant, entry.model, key)
        for shard in {pick(shards, digest) for shards in entry.earlier}:
            if await self.has_key(tenant, entry.model, key, [shard]):
                return [shard]
        return entry.shards

    async def has_key(self, tenant: str, model: str, key: str, shards: Sequence[int]) -> bool:
        """Say whether an earlier request with this Idempotency-Key is still known."""
        digest = idempotency_digest(tenant, model, key)
        prefix = keys.shard_prefix(self._connections.namespace, pick(shards, digest))
        with translated():
            return bool(await self._connections.client.exists(f"{prefix}idem:{digest}"))

    async def get(self, identifier: str, tenant: str) -> Job:
        """Return a job; raises NoSuchJob, also for a job of another tenant."""
        return _own(await self._read_one(identifier, ""), identifier, tenant)

    async def _read_one(self, identifier: str, channel: str) -> Job | None:
        shard = shard_of(identifier)
        if shard is None:
            return None
        group = self._reads.get((shard, channel))
        if group is None:
            group = GroupCommit(
                partial(self._read, shard, channel), size=lambda _: MAX_BYTES // _READ_PAGE
            )
            self._reads[shard, channel] = group
        return await group.add(identifier)

    async def wait(self, identifier: str, tenant: str, timeout_s: float) -> Job:
        """Hold until the job is final; after `timeout_s`, or when draining, return it as it is.

        A Redis that goes away meanwhile ends it early with QueueUnavailable (jobs/waiters.py says
        how soon), and with no certain time to come back: ten thousand would keep to it.
        """
        future = self._waiters.expect(identifier)
        try:
            job = _own(await self._read_one(identifier, self._waiters.channel), identifier, tenant)
            if job.final:
                return job
            ended = future.result() if await self._held(future, timeout_s) else None
            return ended or await self.get(identifier, tenant)
        except (QueueUnavailable, NotDurable) as error:
            raise type(error)(error.detail, job_id=identifier) from error
        finally:
            self._waiters.forget(identifier, future)

    async def _held(self, future: asyncio.Future[Job | None], timeout_s: float) -> bool:
        await asyncio.wait([future], timeout=timeout_s)
        return future.done()

    async def read(self, identifiers: Sequence[str]) -> list[Job | None]:
        """Return jobs in the order asked for, None where there is none."""
        return await self._read_all(identifiers, "")

    async def _look(self, identifiers: Sequence[str]) -> list[Job | None]:
        return await self._read_all(identifiers, self._waiters.channel)

    async def _read_all(self, identifiers: Sequence[str], channel: str) -> list[Job | None]:
        by_shard: dict[int, list[str]] = defaultdict(list)
        for identifier in identifiers:
            shard = shard_of(identifier)
            if shard is not None:
                by_shard[shard].append(identifier)
        found: dict[str, Job | None] = {}
        for shard, ids in by_shard.items():
            for start in range(0, len(ids), _READ_PAGE):
                page = ids[start : start + _READ_PAGE]
                found.update(zip(page, await self._read(shard, channel, page), strict=True))
        return [found.get(identifier) for identifier in identifiers]

    async def _read(self, shard: int, channel: str, ids: list[str]) -> list[Job | None]:
        found: dict[str, Job | None] = {}
        while rest := [identifier for identifier in ids if identifier not in found]:
            args = [*self._options.policy, channel, *rest]
            rows = await self._connections.run(scripts.READ, shard, args)
            found.update(
                (identifier, job_from_row(identifier, row) if row else None)
                for identifier, row in zip(rest, rows, strict=True)
                if row != b"later"
            )
        return [found[identifier] for identifier in ids]

    async def batch(self, identifier: str, tenant: str) -> Batch:
        """Return how far a batch is; raises NoSuchBatch."""
        found = await read_batch(self._connections, identifier)
        if found is None or found.tenant != tenant:
            raise NoSuchBatch(f"There is no batch {identifier}.")
        return found

    async def cancel(self, identifier: str, tenant: str) -> Canceled:
        """Cancel a job: at once while queued, as `canceling` while it runs.

        Raises NoSuchJob, NotCancelable.
        """
        verdict, status = await self._one(scripts.CANCEL, identifier, tenant)
        if verdict == b"final":
            raise NotCancelable(
                f"The job has already ended as {status.decode()}.", job_id=identifier
            )
        return Canceled(await self.get(identifier, tenant), ended=verdict == b"ended")

    async def delete(self, identifier: str, tenant: str) -> None:
        """Erase a final job; raises NoSuchJob, NotCancelable while it is not final."""
        verdict, status = await self._one(scripts.DELETE, identifier, tenant)
        if verdict == b"open":
            raise NotCancelable(
                f"The job is {status.decode()}; only a job that has ended can be deleted. "
                "Cancel it first.",
                job_id=identifier,
            )

    async def _one(
        self, script: scripts.Script, identifier: str, tenant: str
    ) -> tuple[bytes, bytes]:
        shard = shard_of(identifier)
        if shard is None:
            raise _missing(identifier)
        args = [*self._options.policy, identifier, tenant]
        verdict, status = await self._connections.run(script, shard, args)
        if verdict == b"missing":
            raise _missing(identifier)
        return verdict, status

    async def sweep(self, shards: Sequence[int]) -> list[tuple[str, str]]:
        """Do what is due on these shards; return model and version of what expired."""
        return await sweep(self._connections, self._options, shards)


def _own(job: Job | None, identifier: str, tenant: str) -> Job:
    if job is None or job.tenant != tenant:
        raise _missing(identifier)
    return job


def _missing(identifier: str) -> NoSuchJob:
    return NoSuchJob(f"There is no job {identifier}.")
