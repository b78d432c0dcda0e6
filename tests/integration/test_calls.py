"""Connections of our own: none is given on with an answer that another waits for."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import redis
import uvloop
from hiredis import pack_command
from redis.asyncio.connection import AbstractConnection

from headrace.chaos.points import Point
from headrace.chaos.proxy import Proxy
from jobs.calls import Calls
from jobs.connection import RedisConnections, translated
from jobs.errors import QueueUnavailable
from jobs.redis_errors import NotSent
from jobs.redis_url import target_of

BLOCKING = ("BLPOP", "nothing", 30)
#: Longer than a busy machine keeps a server from answering.
LIMIT_S = 1.5


@pytest.fixture
async def calls(redis_url: str) -> AsyncIterator[Calls]:
    target = target_of(redis_url, LIMIT_S)
    made = Calls(target.connection, target.settings, limit=3, timeout_s=LIMIT_S)
    yield made
    await made.close()


async def test_many_calls_share_few_connections(calls: Calls, redis_url: str) -> None:
    answers = await asyncio.gather(*(calls.send(("ECHO", str(n))) for n in range(50)))
    assert answers == [str(n).encode() for n in range(50)]
    listed = (await calls.send(("CLIENT", "LIST"))).decode()
    assert len([line for line in listed.splitlines() if "cmd=echo" in line]) <= 3


async def test_a_call_that_was_canceled_leaves_no_answer_behind(calls: Calls) -> None:
    blocked = asyncio.create_task(calls.send(BLOCKING))
    await asyncio.sleep(0.05)
    blocked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await blocked
    assert [await calls.send(("ECHO", "a")) for _ in range(4)] == [b"a"] * 4


async def test_a_call_without_an_answer_ends_in_time(calls: Calls) -> None:
    async with asyncio.timeout(6 * LIMIT_S):
        with pytest.raises(QueueUnavailable), translated():
            await calls.send(BLOCKING)
    assert await calls.send(("ECHO", "a")) == b"a"


async def test_many_calls_without_an_answer_all_end_in_time(calls: Calls) -> None:
    began = time.monotonic()
    blocked = (calls.send(BLOCKING) for _ in range(30))
    failures = await asyncio.gather(*blocked, return_exceptions=True)
    # One after the other on three connections, they took ten times the limit.
    assert time.monotonic() - began < 5 * LIMIT_S
    waited = [each for each in failures if isinstance(each, NotSent)]
    assert len(waited) >= 20
    assert all(each.slow for each in waited)
    assert await calls.send(("ECHO", "a")) == b"a"


@pytest.mark.parametrize("retired", [True, False])
async def test_nothing_is_sent_to_a_server_retired_in_its_handshake(
    redis_url: str, retired: bool
) -> None:
    admitted = []

    async def admit() -> None:
        admitted.append(time.monotonic())

    with Proxy(redis_url, "test") as proxy, redis.Redis.from_url(redis_url) as direct:
        target = target_of(proxy.url, 10.0)
        calls = Calls(target.connection, target.settings, limit=3, timeout_s=10.0, admit=admit)
        [armed] = proxy.arm(Point("HELLO", "before_reply", delay_s=2.0))
        call = asyncio.create_task(calls.send(("SET", "written", "1")))
        assert await asyncio.to_thread(armed.wait, 5)
        if retired:
            await calls.retire()
            with pytest.raises(NotSent):
                await call
            with pytest.raises(NotSent):
                await calls.send(("SET", "written", "1"))
        else:
            # As after a failure of another call: this server is asked for anew.
            await calls.close()
            await call
        assert direct.get("written") == (None if retired else b"1")
        assert len(admitted) == (1 if retired else 2)
        await calls.close()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_connection_that_was_reset_while_idle_costs_no_call(
    redis_url: str, new_loop: Callable[[], asyncio.AbstractEventLoop]
) -> None:
    async def through(proxy: Proxy) -> None:
        target = target_of(proxy.url, 5.0)
        calls = Calls(target.connection, target.settings, limit=3, timeout_s=5.0)
        assert await calls.send(("ECHO", "a")) == b"a"
        [idle] = calls._idle
        await asyncio.to_thread(proxy.cut_all)
        async with asyncio.timeout(5):
            with pytest.raises(ConnectionResetError):
                await idle._writer.wait_closed()
        assert await calls.send(("ECHO", "b")) == b"b"
        await calls.close()

    with Proxy(redis_url, "test") as proxy, asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(through(proxy))


async def echo(connection: AbstractConnection) -> None:
    """Send and read on a connection as it is."""
    with translated():
        await connection.send_packed_command(pack_command(("ECHO", "a")), check_health=False)
        await connection.read_response()


@pytest.mark.parametrize("new_loop", [asyncio.new_event_loop, uvloop.new_event_loop])
@pytest.mark.parametrize("timeout_s", [None, 5.0])
def test_a_connection_that_is_lost_before_the_write_is_no_fault_of_the_program(
    redis_url: str, new_loop: Callable[[], asyncio.AbstractEventLoop], timeout_s: float | None
) -> None:
    async def through(proxy: Proxy) -> None:
        target = target_of(proxy.url, 5.0)
        connection = target.connection(**{**target.settings, "socket_timeout": timeout_s})
        await connection.connect()
        await asyncio.to_thread(proxy.cut_all)
        # As where it is lost between the look at it and the write, or between connect and HELLO.
        async with asyncio.timeout(5):
            with pytest.raises(ConnectionResetError):
                await connection._writer.wait_closed()
        with pytest.raises(QueueUnavailable):
            await echo(connection)
        assert not connection.is_connected

    with Proxy(redis_url, "test") as proxy, asyncio.Runner(loop_factory=new_loop) as runner:
        runner.run(through(proxy))


async def test_an_error_of_the_server_costs_no_connection(calls: Calls) -> None:
    before = await calls.send(("CLIENT", "ID"))
    with pytest.raises(Exception, match="unknown command"):
        await calls.send(("NONSENSE",))
    assert await calls.send(("CLIENT", "ID")) == before


async def test_after_a_restart_one_failure_is_enough(own_redis: Any) -> None:
    async with RedisConnections(own_redis.url) as connections:
        [node] = await connections.masters()
        await asyncio.gather(*(node.calls.send(("ECHO", "a")) for _ in range(8)))
        own_redis.kill()
        own_redis.start()
        with pytest.raises(QueueUnavailable), translated():
            await node.calls.send(("ECHO", "a"))
        for _ in range(8):
            assert await node.calls.send(("ECHO", "a")) == b"a"


async def test_outside_its_block_there_is_none(redis_url: str) -> None:
    connections = RedisConnections(redis_url)
    with pytest.raises(RuntimeError):
        _ = connections.client
    with pytest.raises(RuntimeError):
        await connections.healthy()
