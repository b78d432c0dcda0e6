"""A stack whose every role has a proxy of its own before Redis, and the ways to make cuts fall."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import statistics
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self

import redis

from headrace.chaos.points import WHERE, Armed, Point
from headrace.chaos.process import Process, free_port, until
from headrace.chaos.proxy import Proxy
from headrace.chaos.stack import Api, Stack
from headrace.embedded_redis import find_server
from jobs import keys
from jobs.audit import Finding, audit
from jobs.cards import CardStore
from jobs.connection import RedisConnections
from jobs.errors import QueueUnavailable
from jobs.policy import QueueOptions
from jobs.shards import shards_for_model
from model_store.card import Card

from .steady import BOUND_S, MODEL, NOBODY

_SCHEMA = {"type": "object", "properties": {"n": {"type": "string"}}}
#: The API asks for a rewrite of the log every ten seconds at the most.
SOON_S = 13.0
#: What a role says by the clock, however little happens: the slowest of it, some seconds apart.
BY_THE_CLOCK = {"api": {"sweep"}, "steady": {"beat", "sweep", "follow"}}
#: What connects anew, or looks for what was lost, does so after one of these was cut.
_AFTER: dict[str, list[Point]] = {
    "CLIENT MAINT_NOTIFICATIONS": [
        Point("read", "before_reply"),
        Point("settle", "before_reply"),
    ],
    "hand_back": [Point("claim", "before_reply", least=100)],
    "XREVRANGE": [Point("XREAD", "before_reply")],
    "SUBSCRIBE": [Point("message", "before_reply")],
    "HELLO": [Point("read", "before_reply"), Point("settle", "before_reply")],
    "CLIENT SETINFO": [Point("read", "before_reply"), Point("settle", "before_reply")],
}


class Bench:
    """Redis, an API, a worker that stays and one that comes and goes."""

    def __init__(self, *, replicated: bool = False, beat_limit_s: int = 6) -> None:
        self._options = QueueOptions(result_ttl_s=20, dead_ttl_s=20, beat_limit_s=beat_limit_s)
        given = {"result_ttl_s": "20", "dead_ttl_s": "20", "beat_limit_s": str(beat_limit_s)}
        kept = os.environ.get("CUTS_FOLDER")
        folder = Path(tempfile.mkdtemp(dir=kept)) if kept else None
        self._port = str(free_port()) if replicated else ""
        if replicated:
            listen = ("--port", self._port, "--bind", "127.0.0.1")
            self._stack = Stack(folder, listen, durability="replicated", **given)
        else:
            self._stack = Stack(folder, **given)
        self._close = contextlib.ExitStack()
        self.proxies: dict[str, Proxy] = {}
        self.missed: set[tuple[str, str]] = set()

    def __enter__(self) -> Self:
        self._close.enter_context(self._stack)
        for role in ("api", "steady", "passing", "second", "doctor"):
            log = self.folder / "cuts.jsonl"
            proxy = Proxy(self._stack.redis_url, role, log=log)
            self.proxies[role] = self._close.enter_context(proxy)
        if self._port:
            self._start_replica()
        asyncio.run(self._publish_cards())
        self.api = self._stack.api(redis_url=self.proxies["api"].url)
        self.worker = self.start_worker("steady", "a")
        self.api.ready(MODEL.name)
        until(lambda: self.api.status(f"/v1/models/{NOBODY}") == 200, what="the card of nobody")
        #: What processes say when they begin.
        self.beginning = {name for proxy in self.proxies.values() for name in proxy.seen}
        for proxy in self.proxies.values():
            proxy.seen.clear()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._close.close()

    @property
    def folder(self) -> Path:
        """Where all that was written lies."""
        return self._stack.folder

    @property
    def side_log(self) -> Path:
        """What the model has written of its runs."""
        return self._stack.side_log

    def _start_replica(self) -> None:
        command = [find_server().path, "--port", str(free_port()), "--bind", "127.0.0.1"]
        command += ["--replicaof", "127.0.0.1", self._port, "--repl-diskless-sync-delay", "0"]
        self._stack.process("replica", [*command, "--save", "", "--dir", "."]).start()
        with self.direct() as client:

            def follows() -> bool:
                return "online" in str(client.info("replication").get("slave0"))

            until(follows, 20, "the replica follows")

    async def _publish_cards(self) -> None:
        """Of a model that nobody serves, and of a version from which jobs would follow."""
        async with RedisConnections(self._stack.redis_url) as connections:
            for model, version in ((NOBODY, "1"), (MODEL.name, "before")):
                card = Card(
                    name=model,
                    version=version,
                    input_schema=_SCHEMA,
                    output_schema=_SCHEMA,
                    shards=tuple(shards_for_model(model)),
                )
                await CardStore(connections).publish(card.to_json(), model=model, version=version)

    def start_worker(self, role: str, name: str) -> Process:
        """Start a worker of a role; it need not be ready yet."""
        url, folder = self.proxies[role].url, str(self.folder / f"data-{name}")
        return self._stack.worker(MODEL, redis_url=url, worker_name=name, data_dir=folder)

    def start_api(self, role: str) -> Api:
        """Start another API."""
        return self._stack.api(redis_url=self.proxies[role].url)

    def all_said(self) -> bool:
        """Whether each role has sent what it sends by the clock: only then can it be cut."""
        return all(names <= {*self.proxies[role].seen} for role, names in BY_THE_CLOCK.items())

    def direct(self) -> redis.Redis:
        """Redis without a proxy."""
        return redis.Redis.from_url(self._stack.redis_url)

    def fire(self, *points: tuple[str, Point], seconds: float = SOON_S) -> bool:
        """Let points happen to their roles, and what makes them happen; whether all did."""
        armed = [(self.proxies[role], *self.proxies[role].arm(point)) for role, point in points]
        causes: list[Armed] = []
        end = time.monotonic() + seconds
        while waiting := [(proxy, each) for proxy, each in armed if not each.fired.is_set()]:
            if time.monotonic() > end:
                break
            if all(cause.fired.is_set() for cause in causes):
                causes = [cause for way in waiting for cause in self._provoke(*way)]
            waiting[0][1].wait(0.5)
        for proxy in self.proxies.values():
            proxy.disarm(*(each for _, each in armed), *causes)
        self.missed |= {(each.point.name, each.point.where) for _, each in waiting}
        return not waiting

    def _provoke(self, proxy: Proxy, waiting: Armed) -> list[Armed]:
        if waiting.point.name == "SCRIPT LOAD":
            with self.direct() as client:
                client.script_flush()
        if waiting.point.name == "BGREWRITEAOF":
            # As if it had just been started: its log is to be rewritten once more.
            with self.direct() as client:
                client.config_resetstat()
        causes = _AFTER.get(waiting.point.name, [])
        return proxy.arm(*(cause for cause in causes if cause.name in proxy.seen))

    def fire_audit(self) -> None:
        """Cut what only an audit sends, and what only the first process on an empty Redis does."""
        proxy = self.proxies["doctor"]
        self.audited()
        points = [Point(name, where) for where in WHERE for name in (*proxy.seen, "SET")]
        for point in points:
            if point.name == "SCRIPT LOAD":
                continue
            with self.direct() as client:
                client.delete(keys.record_format(keys.DEFAULT_NAMESPACE))
            [armed] = proxy.arm(point)
            self.audited()
            if not armed.fired.is_set():
                self.missed.add((point.name, point.where))

    def emptied(self) -> None:
        """Wait until what has ended is forgotten."""
        with self.direct() as client:
            until(lambda: not client.keys("*:job:*"), 60, "every job is forgotten")

    def probe(self) -> float:
        """Run one job from end to end; return the seconds it took."""
        before = time.monotonic()
        body = {"input": {"n": "", "do": "return"}}
        path = f"/v1/models/{MODEL.name}/jobs"
        until(
            lambda: (
                self.api.call("POST", path, json=body, headers={"Prefer": "wait=10"}).status_code
                == 200
            ),
            BOUND_S,
            "a job goes the whole way",
        )
        return time.monotonic() - before

    def median_probe(self, count: int = 9) -> float:
        """Return how long a job takes now, in seconds."""
        return statistics.median(self.probe() for _ in range(count))

    def audited(self) -> list[Finding]:
        """Compare the books with what is there; nothing may be under way."""

        async def look() -> list[Finding]:
            async with RedisConnections(self.proxies["doctor"].url) as connections:
                while True:
                    with contextlib.suppress(QueueUnavailable):
                        await connections.verify()
                        return await audit(connections, self._options)

        return asyncio.run(look())

    def said_wrong(self) -> list[str]:
        """Lines of any log that no cut may cause."""
        found = []
        for log in sorted(self.folder.glob("*.log")):
            for line in log.read_text(errors="replace").splitlines():
                if log.name.partition("-")[2] in ("redis.log", "replica.log"):
                    continue
                if not line.startswith("{") or json.loads(line)["level"] in ("error", "critical"):
                    found.append(f"{log.name}: {line[:2000]}")
        return found
