"""What is left in Redis when everything has ended, and when everything was erased."""

from __future__ import annotations

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

from headrace.chaos.client import Client, Refused
from jobs.audit import audit
from jobs.connection import RedisConnections
from jobs.outbox import Outbox
from jobs.policy import QueueOptions
from jobs.snapshot import shard_keys

#: Kinds of keys that stay for a model without jobs: two numbers, a few bells, its living workers,
#: and the log of deliveries, which is kept for a week.
_STAY = frozenset(
    {"beats", "bell", "counts", "fence", "format", "stats", "worker"}
    | {"outbox", "delivery", "called", "told"}
)


def books(redis_url: str, options: QueueOptions) -> list[str]:
    """Return what the audit finds wrong."""

    async def look() -> list[str]:
        async with RedisConnections(redis_url) as connections:
            found = await audit(connections, options)
            return [f"{each.kind} {each.key}: {each.detail}" for each in found]

    return asyncio.run(look())


def erase(client: Client) -> list[str]:
    """Delete every job of the ledger, as its client may; return what could not be deleted."""

    def delete(job_id: str) -> str:
        try:
            # 404: it was deleted, and the answer was lost.
            client.insist("DELETE", f"/v1/jobs/{job_id}", {204, 404})
        except (Refused, TimeoutError) as error:
            return f"{job_id} is not deleted: {error}"
        return ""

    with ThreadPoolExecutor(client.connections) as pool:
        return [why for why in pool.map(delete, client.ledger.everything()) if why]


def leftovers(redis_url: str) -> dict[str, int]:
    """Return how many keys of which kind are there that no model keeps without jobs."""
    return {kind: count for kind, count in _kinds(redis_url).items() if kind not in _STAY}


def still_telling(redis_url: str) -> bool:
    """Return whether an event is no delivery yet, as the end of a batch may be when its last job
    was told of, or a delivery waits for a try, or for the answer to one to be noted.

    Keys do not say so: an outbox is there also when it is empty.
    """

    async def look() -> bool:
        async with RedisConnections(redis_url) as connections:
            outbox = Outbox(connections, QueueOptions(), sender="aftermath")
            return any([await outbox.pending(shard) for shard in await shard_keys(connections)])

    return asyncio.run(look())


def _kinds(redis_url: str) -> Counter[str]:
    async def look() -> Counter[str]:
        async with RedisConnections(redis_url) as connections:
            names = [name for each in (await shard_keys(connections)).values() for name in each]
        return Counter(name.partition(":")[0] for name in names)

    return asyncio.run(look())
