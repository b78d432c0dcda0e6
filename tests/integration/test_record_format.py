"""Versions that cannot read each other's records do not share a Redis."""

from __future__ import annotations

import pytest

from jobs import record_format
from jobs.connection import RedisConnections
from jobs.errors import WrongRedis


async def test_an_empty_redis_is_marked_by_who_will_write(redis_url: str) -> None:
    async with RedisConnections(redis_url) as connections:
        await connections.verify(claim=False)
        assert await connections.client.get("hr:format") is None
        await connections.verify()
        await connections.verify()
        assert await connections.client.get("hr:format") == b"2"


async def test_a_newer_format_is_refused_and_the_one_before_is_read(
    redis_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with RedisConnections(redis_url) as connections:
        await connections.client.set("hr:format", 3)
        with pytest.raises(WrongRedis, match="format 3, written by a newer Headrace"):
            await connections.verify()
        assert await connections.client.get("hr:format") == b"3"
        monkeypatch.setattr(record_format, "FORMAT", 4)
        await connections.verify()
        assert await connections.client.get("hr:format") == b"4"
        monkeypatch.setattr(record_format, "FORMAT", 6)
        with pytest.raises(WrongRedis, match="Start one of the versions between"):
            await connections.verify()
