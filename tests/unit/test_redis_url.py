"""Every form of HEADRACE_REDIS_URL, and what is said of one that is none."""

from __future__ import annotations

import pytest
from redis.asyncio.connection import Connection, SSLConnection, UnixDomainSocketConnection

from jobs.errors import WrongRedis
from jobs.redis_url import target_of
from jobs.wires import wire


def test_one_server() -> None:
    target = target_of("redis://user:p%40ss@host:7000/3", 5)
    assert (target.kind, target.connection) == ("server", wire(Connection))
    assert target.settings["host"] == "host"
    assert [target.settings[name] for name in ("port", "db", "username", "password")] == [
        *(7000, 3, "user", "p@ss")
    ]
    assert target_of("rediss://host", 5).connection is wire(SSLConnection)
    assert target_of("unix:///tmp/r.sock", 5).connection is wire(UnixDomainSocketConnection)


def test_sentinels() -> None:
    url = "redis+sentinel://app:secret@a:1,b,[::1]:3/main/2?sentinel_password=other"
    target = target_of(url, 5)
    assert (target.kind, target.master) == ("sentinel", "main")
    assert target.addresses == (("a", 1), ("b", 26379), ("::1", 3))
    assert (target.settings["password"], target.settings["db"]) == ("secret", 2)
    assert target.sentinel_settings["password"] == "other"
    assert "username" not in target.sentinel_settings
    assert target_of("rediss+sentinel://a/main", 5).connection is wire(SSLConnection)


def test_a_cluster() -> None:
    target = target_of("redis+cluster://:secret@a:1,b", 5)
    assert (target.kind, target.addresses) == ("cluster", (("a", 1), ("b", 6379)))
    assert target.settings["password"] == "secret"
    assert target_of("rediss+cluster://a", 5).connection is wire(SSLConnection)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("http://a", "begins with http://"),
        ("redis+what://a", r"redis\+cluster://"),
        ("redis+sentinel://a:1,b:2", r"host:26379/MASTER"),
        ("redis+cluster://a:1/3", r"redis\+cluster://\[user:password@\]"),
        ("redis+cluster://a:1,,b", "no host in ''"),
        ("redis+cluster://a:port", "no host in 'a:port'"),
        ("redis://a?db=x", "cannot be read"),
    ],
)
def test_what_is_none_is_told_how_it_has_to_be(url: str, says: str) -> None:
    with pytest.raises(WrongRedis, match=says):
        target_of(url, 5)
