"""What is published is seen, although the connection is cut at any moment."""

from __future__ import annotations

import pytest

from headrace.chaos.points import Point
from headrace.chaos.proxy import Proxy
from jobs.cards import CardStore, CardWatch
from jobs.connection import RedisConnections
from jobs.errors import QueueUnavailable

CARD = b'{"shards":[1]}'


@pytest.mark.parametrize("point", ["HGET", "HSET", "INCRBY"])
@pytest.mark.parametrize("restarted", [True, False])
async def test_a_card_published_in_two_tries_is_seen_by_who_has_looked(
    redis_url: str, point: str, restarted: bool
) -> None:
    with Proxy(redis_url, "worker") as proxy:
        async with RedisConnections(proxy.url) as behind, RedisConnections(redis_url) as direct:
            store, watch = CardStore(behind), CardWatch(direct)
            await store.publish(CARD, model="echo", version="1")
            await watch.refresh()
            # Also of a version that this store has told of before.
            for version in ("2", "1"):
                nth = 2 if point == "HSET" else 1
                [armed] = proxy.arm(Point(point, "before_request", nth=nth))
                try:
                    await store.publish(CARD, model="echo", version=version)
                except QueueUnavailable:
                    store = CardStore(behind) if restarted else store
                    await store.publish(CARD, model="echo", version=version)
                assert armed.fired.is_set()
                await watch.refresh()
                assert watch.get("echo").version == version


async def test_a_card_that_is_known_is_not_told_of_again(redis_url: str) -> None:
    async with RedisConnections(redis_url) as connections:
        store = CardStore(connections)
        await store.publish(CARD, model="echo", version="1")
        told = await store.revision()
        await store.publish(CARD, model="echo", version="1")
        assert await store.revision() == told
