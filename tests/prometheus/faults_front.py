"""What can be wrong between a client, an API and Redis."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from headrace.chaos.points import Point, Storm
from headrace.chaos.proxy import Proxy
from headrace.chaos.stack import Process, free_port
from headrace.embedded_redis import find_server

from .lookout import Lookout
from .sites import Site

MODEL = "front"
#: What a read that is slow takes longer, in seconds.
_SLOW_S = 1.4


class SlowReads(Storm):
    """Holds up each answer to one command: that which a list of jobs begins with."""

    def __init__(self) -> None:
        super().__init__(0, share=1.0)

    def point(self, name: str, request: bool) -> Point | None:
        """Return what happens to this message."""
        if request or name != "ZREVRANGEBYLEX":
            return None
        return Point(name, "before_reply", delay_s=_SLOW_S)


def front(lookout: Lookout) -> None:
    """Two APIs, one of them behind a way to Redis that may break, and a replica."""
    port = str(free_port())
    # Each life of the master would wait for more replicas before it serves the first.
    args = ["--port", port, "--bind", "127.0.0.1", "--repl-diskless-sync-delay", "0"]
    site = Site("front", lookout, args, durability="replicated", max_queue_depth="40")
    with site, Proxy(site.stack.redis_url, "api") as proxy:
        replica = _replica(site, port).start()
        first, second = site.api(), site.api(redis_url=proxy.url)
        site.worker(MODEL)
        with site.reads(first), site.reads(second), site.jobs(MODEL, {}, 5):
            redis_is_gone(site)
            one_api_is_cut_off(site, proxy)
            the_queue_is_full(site)
            the_replica_is_gone(site, replica)
            reads_are_slow(site, proxy)


def _replica(site: Site, port: str) -> Process:
    folder = site.stack.folder / "replica"
    folder.mkdir()
    command = [find_server().path, "--port", str(free_port()), "--bind", "127.0.0.1"]
    command += ["--dir", str(folder), "--save", "", "--replicaof", "127.0.0.1", port]
    return site.stack.process("replica", command)


def redis_is_gone(site: Site) -> None:
    """It is killed, and comes back with its data."""
    with site.tells("HeadraceRedisDown") as fires:
        site.stack.redis.kill()
        try:
            fires()
        finally:
            site.stack.start_redis()


def one_api_is_cut_off(site: Site, proxy: Proxy) -> None:
    """Half of the requests are refused, while Redis is well."""
    with site.tells("HeadraceApiErrors") as fires:
        proxy.away(True)
        try:
            fires()
        finally:
            proxy.away(False)


def the_queue_is_full(site: Site) -> None:
    """The worker has work that does not end, and more comes than the queue may hold."""
    with (
        site.tells("HeadraceQueueFull") as fires,
        site.held(MODEL, "full"),
        site.jobs(MODEL, {}, 20),
    ):
        fires()


def the_replica_is_gone(site: Site, replica: Process) -> None:
    """Nobody confirms what the master takes."""
    with site.tells("HeadraceNotDurable") as fires:
        replica.kill()
        try:
            fires()
        finally:
            replica.start()


def reads_are_slow(site: Site, proxy: Proxy) -> None:
    """One of the APIs waits for each list that it reads."""
    with site.tells("HeadraceApiSlow") as fires, _storm(proxy):
        fires()


@contextmanager
def _storm(proxy: Proxy) -> Iterator[None]:
    proxy.storm = SlowReads()
    try:
        yield
    finally:
        proxy.storm = None
