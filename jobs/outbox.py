"""The outbox and the deliveries of every shard, as a sender sees them."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import Any

import msgspec

from jobs import scripts
from jobs.bells import listen
from jobs.cards import CardStore
from jobs.connection import RedisConnections
from jobs.job import fields_of, job_from_row
from jobs.listing import batch_of
from jobs.policy import QueueOptions
from jobs.webhook import Delivery, Leased, NewDelivery, Told, Untold, Webhook, webhook_of

#: What the bells of senders are called: no model has such a name.
_BELL = "!webhooks"
#: Seconds of nothing but failures that disable an endpoint.
DISABLE_AFTER_S = 120 * 3600


class Outbox:
    """What is to be told, on any shard. Methods raise QueueUnavailable when Redis gives no answer;
    each may be repeated as it is, but for `lease`: what a lost answer took is due again when its
    lease runs out.
    """

    def __init__(
        self,
        connections: RedisConnections,
        options: QueueOptions,
        *,
        sender: str,
        disable_after_s: float = DISABLE_AFTER_S,
    ) -> None:
        self._connections = connections
        self._options = options
        #: Name of this process life, in the tokens of its leases.
        self._sender = sender
        self._disable_after_ms = int(disable_after_s * 1000)

    async def _run(self, script: scripts.Script, shard: int, *args: Any) -> Any:
        return await self._connections.run(script, shard, [*self._options.policy, *args])

    async def shards(self) -> list[int]:
        """Return the shards of every model that has a card: where events may come up."""
        entries = await CardStore(self._connections).entries()
        return sorted({shard for entry in entries for shard in entry.served})

    async def untold(self, shard: int, most: int) -> list[Untold]:
        """Return the oldest events that have no delivery yet."""
        return [_untold(row) for row in await self._run(scripts.UNTOLD, shard, most)]

    async def post(
        self, shard: int, deliveries: Sequence[NewDelivery], *, lease_s: float | None
    ) -> list[Delivery]:
        """Write deliveries in place of their events, in one step each; those that another sender
        has written are left out.

        With `lease_s` the answer holds those that are this sender's from the start, but for those
        of disabled endpoints; else they are due at once for anybody.
        """
        args: list[Any] = [self._sender, "" if lease_s is None else int(lease_s * 1000)]
        for new in deliveries:
            args += [new.entry, new.id, new.owner, new.tenant, new.type, new.url, new.endpoint]
            args += [new.secret or "", new.body, new.traceparent or ""]
        tokens = await self._run(scripts.POST, shard, *args)
        pairs = zip(deliveries, tokens, strict=True)
        return [_posted(new, token.decode()) for new, token in pairs if token]

    async def forget(self, shard: int, events: Sequence[Untold]) -> None:
        """Take events out of the outbox that nobody can be told of, or that are out of date."""
        args: list[Any] = [self._sender, ""]
        for event in events:
            args += [event.entry, "", event.owner, *[""] * 7]
        await self._run(scripts.POST, shard, *args)

    async def lease(
        self, shard: int, *, most: int, each: int, room: Mapping[str, int], lease_s: float
    ) -> Leased:
        """Take what is due, endpoint after endpoint: up to `most`, up to `each` of an endpoint.

        `room` says of endpoints how many may be taken instead of `each` (0: none).
        """
        args: list[Any] = [self._sender, int(lease_s * 1000), most, each]
        for endpoint, free in room.items():
            args += [endpoint, free]
        now, next_at, rows = await self._run(scripts.LEASE, shard, *args)
        return Leased(
            deliveries=[_leased(row) for row in rows],
            now=int(now),
            next_at=int(float(next_at)) if next_at else None,
        )

    async def settle(self, shard: int, told: Sequence[Told]) -> None:
        """Note results: the log of tries, what is due when, the endpoint's failures."""
        args: list[Any] = [self._disable_after_ms]
        for each in told:
            delivery = each.delivery
            tried = b"" if each.tried is None else msgspec.json.encode(each.tried)
            next_at = "" if each.next_at is None else each.next_at
            args += [delivery.id, delivery.token, each.verdict.value, next_at, tried]
        await self._run(scripts.TOLD, shard, *args)

    async def release(self, shard: int, most: int = 1000) -> int:
        """Make due what waits for its retry and whose time has come; return how many that were."""
        return int(await self._run(scripts.RELEASE, shard, most))

    async def overdue(self, shard: int, grace_s: float) -> int:
        """Return how many retries should have been made due this long ago."""
        return int((await self._run(scripts.WAITING, shard, int(grace_s * 1000)))[3])

    async def pending(self, shard: int) -> int:
        """Return how many events and deliveries wait on a shard."""
        events, calls, retries, _ = await self._run(scripts.WAITING, shard, 0)
        return int(events) + int(calls) + int(retries)

    async def listen(self, shards: Sequence[int]) -> AsyncIterator[int]:
        """Yield a shard for each sign that there may be something new, for ever; also after each
        reconnect, lest one was missed. The list of shards may grow while this goes on.
        """
        async for bell in listen(self._connections, _BELL, shards):
            if bell.job:
                yield int(bell.job)
            else:
                for shard in list(shards):
                    yield shard


def _untold(row: Sequence[Any]) -> Untold:
    entry, type_, owner, seq, at, flat, output, size, extra, progress = row
    identifier = owner.decode()
    event: dict[str, Any] = {
        "entry": entry.decode(),
        "type": type_.decode(),
        "owner": identifier,
        "seq": int(seq),
        "at": int(at),
    }
    record = fields_of(flat)
    if not record.get("tenant"):
        return Untold(**event, tenant="", webhook=None)
    kept = msgspec.json.decode(extra, type=_Extra) if extra else _Extra()
    event["traceparent"] = kept.traceparent
    if identifier.startswith("bat_"):
        webhook = webhook_of(record.get("webhook", "").encode())
        batch = batch_of(identifier, record)
        return Untold(**event, tenant=batch.tenant, webhook=webhook, batch=batch)
    job = job_from_row(identifier, [flat, None, output, extra, progress, None])
    return Untold(
        **event,
        tenant=job.tenant,
        webhook=kept.webhook,
        job=job,
        linked=bool(size) and not isinstance(output, bytes),
    )


class _Extra(msgspec.Struct):
    webhook: Webhook | None = None
    traceparent: str | None = None


def _posted(new: NewDelivery, token: str) -> Delivery:
    return Delivery(
        id=new.id,
        owner=new.owner,
        tenant=new.tenant,
        type=new.type,
        url=new.url,
        endpoint=new.endpoint,
        secret=new.secret,
        body=new.body,
        tries=0,
        token=token,
        traceparent=new.traceparent,
    )


def _leased(row: Sequence[bytes]) -> Delivery:
    identifier, owner, tenant, type_, url, endpoint, secret, body, tries, token, trace = row
    return Delivery(
        id=identifier.decode(),
        owner=owner.decode(),
        tenant=tenant.decode(),
        type=type_.decode(),
        url=url.decode(),
        endpoint=endpoint.decode(),
        secret=secret.decode() or None,
        body=body,
        tries=int(tries),
        token=token.decode(),
        traceparent=trace.decode() or None,
    )
