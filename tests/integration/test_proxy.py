"""The proxy that cuts: it changes nothing until it is told to, and then where it is told to."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from headrace.chaos.points import WHERE, Point, Storm
from headrace.chaos.process import until
from headrace.chaos.proxy import Proxy
from headrace.chaos.resp import Messages, name_of, replies_to, unasked
from jobs import scripts


@pytest.fixture
def proxy(redis_url: str) -> Iterator[Proxy]:
    with Proxy(redis_url, "test") as made:
        yield made


def connect(proxy: Proxy, protocol: int = 3) -> redis.Redis:
    return redis.Redis.from_url(
        proxy.url, protocol=protocol, socket_timeout=5, retry=Retry(NoBackoff(), 0)
    )


STREAM = [
    b"+OK\r\n",
    b"-ERR no\r\n",
    b":12\r\n",
    b"$3\r\na\r\n\r\n",
    b"$-1\r\n",
    b"*-1\r\n",
    b"*0\r\n",
    b"*2\r\n*1\r\n:1\r\n$2\r\nhi\r\n",
    b"%2\r\n+a\r\n:1\r\n+b\r\n*1\r\n#t\r\n",
    b"|1\r\n+ttl\r\n:1\r\n*1\r\n,1.5\r\n",
    b"~1\r\n_\r\n",
    b">2\r\n$7\r\nmessage\r\n$1\r\nx\r\n",
    b"=8\r\ntxt:line\r\n",
    b"PING\r\n",
]


@pytest.mark.parametrize("piece", [1, 2, 3, 7, 1000])
def test_messages_are_told_apart_however_they_arrive(piece: int) -> None:
    whole, messages = b"".join(STREAM), Messages()
    pieces = [whole[at : at + piece] for at in range(0, len(whole), piece)]
    assert [each for data in pieces for each in messages.feed(data)] == STREAM


def test_a_request_has_the_name_of_its_script() -> None:
    sha = scripts.CLAIM.sha.encode()
    request = b"*3\r\n$7\r\nEVALSHA\r\n$40\r\n" + sha + b"\r\n$1\r\n1\r\n"
    assert name_of(request) == "claim"
    assert name_of(b"*2\r\n$6\r\nscript\r\n$4\r\nload\r\n") == "SCRIPT LOAD"
    assert name_of(b"ping\r\n") == "PING"
    assert replies_to("SUBSCRIBE", b"*3\r\n$9\r\nSUBSCRIBE\r\n$1\r\na\r\n$1\r\nb\r\n") == 2


def test_what_redis_pushes_answers_nobody() -> None:
    told = b"*3\r\n$7\r\nmessage\r\n$1\r\nc\r\n$1\r\nx\r\n"
    assert unasked(told, subscribed=True)
    assert not unasked(told, subscribed=False)
    assert unasked(b">" + told[1:], subscribed=False)
    assert not unasked(b">3\r\n$9\r\nsubscribe\r\n$1\r\nc\r\n:1\r\n", subscribed=True)


@pytest.mark.parametrize("protocol", [2, 3])
def test_all_goes_through_as_it_was_sent(proxy: Proxy, protocol: int) -> None:
    with connect(proxy, protocol) as client:
        large = bytes(range(256)) * 8192
        client.set("large", large)
        assert client.get("large") == large
        pipe = client.pipeline(transaction=True)
        for number in range(300):
            pipe.rpush("list", number)
        assert pipe.execute() == list(range(1, 301))
        assert client.xread({"stream": "$"}, block=50) in ([], {}, None)
        with client.pubsub(ignore_subscribe_messages=True) as listener:
            listener.subscribe("a", "b")
            listener.get_message(timeout=1)
            listener.get_message(timeout=1)
            client.publish("b", b"x")
            # What confirms the subscriptions may come late, and reads as nothing.
            heard = until(lambda: listener.get_message(timeout=1), 10, "the message")
            assert heard["data"] == b"x"
    assert proxy.seen["RPUSH"] == 300
    assert proxy.faults == []


@pytest.mark.parametrize("where", WHERE)
def test_a_cut_falls_where_it_was_asked_for(proxy: Proxy, redis_url: str, where: str) -> None:
    with connect(proxy) as client, redis.Redis.from_url(redis_url) as direct:
        [armed] = proxy.arm(Point("INCRBY", where, nth=3))
        assert [client.incr("n"), client.incr("n")] == [1, 2]
        with pytest.raises(redis.ConnectionError):
            client.incr("n")
        assert armed.wait(5)
        assert int(direct.get("n")) == (3 if where.endswith("reply") else 2)
        assert client.incr("n") == int(direct.get("n"))
        assert [(fault.name, fault.where, fault.role) for fault in proxy.faults] == [
            ("INCRBY", where, "test")
        ]


@pytest.mark.parametrize("where", WHERE)
def test_a_delay_holds_a_message_up_and_loses_nothing(proxy: Proxy, where: str) -> None:
    with connect(proxy) as client:
        client.ping()
        proxy.arm(Point("INCRBY", where, delay_s=0.3))
        before = time.monotonic()
        assert client.incr("n") == 1
        assert time.monotonic() - before >= 0.3


def test_a_pushed_message_can_be_cut(proxy: Proxy, redis_url: str) -> None:
    with (
        connect(proxy) as client,
        redis.Redis.from_url(redis_url) as direct,
        client.pubsub() as listener,
    ):
        listener.subscribe("a")
        assert listener.get_message(timeout=1)
        [armed] = proxy.arm(Point("message", "in_reply"))
        direct.publish("a", b"x" * 100)
        assert armed.wait(2)
        with pytest.raises(redis.ConnectionError):
            listener.get_message(timeout=2)


def test_only_what_is_large_enough_is_cut(proxy: Proxy) -> None:
    with connect(proxy) as client:
        [armed] = proxy.arm(Point("GET", "before_reply", least=64))
        assert client.get("nothing") is None
        client.set("much", b"x" * 64)
        with pytest.raises(redis.ConnectionError):
            client.get("much")
        assert armed.fired.is_set()


def test_a_role_is_cut_off_and_comes_back(proxy: Proxy) -> None:
    with connect(proxy) as client:
        client.ping()
        proxy.away(True)
        for _ in range(2):
            with pytest.raises(redis.ConnectionError):
                client.ping()
        proxy.away(False)
        assert client.ping()


def test_all_connections_of_a_role_go_together(proxy: Proxy) -> None:
    with connect(proxy) as one, connect(proxy) as other:
        assert one.ping()
        before = other.client_id()
        assert other.client_id() == before
        proxy.arm(Point("INCRBY", "before_reply", all_of_role=True))
        with pytest.raises(redis.ConnectionError):
            one.incr("n")

        def anew() -> bool:
            # The library connects anew by itself where it finds that it was hung up on, and says
            # so where that happens under its hands; the others go a moment after the first.
            try:
                return other.client_id() != before
            except redis.ConnectionError:
                return False

        until(anew, 5, "the other connection is gone too")


def test_a_point_that_did_not_come_is_given_back(proxy: Proxy) -> None:
    point = Point("DEL", "before_reply")
    proxy.arm(point)
    assert proxy.disarm() == [point]
    with connect(proxy) as client:
        assert client.delete("n") == 0


def test_a_storm_does_the_same_for_the_same_seed(proxy: Proxy) -> None:
    def strokes(seed: int) -> list[Any]:
        storm = Storm(seed, share=0.3, delays=0.5)
        return [storm.point("GET", number % 2 == 0) for number in range(100)]

    assert strokes(1) == strokes(1) != strokes(2)
    proxy.storm = Storm(3, share=0.2)
    failed = 0
    with connect(proxy) as client:
        for _ in range(50):
            try:
                client.get("n")
            except redis.ConnectionError:
                failed += 1
    assert failed == len(proxy.faults) > 0
