"""Processes that come and go while the workload goes on: their first and last words are cut."""

from __future__ import annotations

import json
import signal
import threading
import time
from typing import Any

from headrace.chaos.ledger import Ledger
from headrace.chaos.points import WHERE, Armed, Point
from headrace.chaos.process import Process, until

from .cutting import Bench
from .steady import MODEL, Steady

_CONNECTING = (
    "HELLO",
    "CLIENT SETINFO",
    "CLIENT MAINT_NOTIFICATIONS",
    "INFO",
    "CONFIG GET",
    "EVAL",
)
WORKER_BEGINS = (*_CONNECTING, "register", "TIME", "XREVRANGE", "HGET", "HSET", "INCRBY")
API_BEGINS = (*_CONNECTING, "HGETALL", "GET", "SUBSCRIBE", "TIME", "sweep", "adopt")
#: As long as a slow job runs, in seconds.
SLOW_S = 0.5
#: An answer of at least so many bytes names jobs.
_NAMES_JOBS = 100


class Passing(threading.Thread):
    """Starts, stops and kills a worker and an API, once for each place of a cut."""

    def __init__(self, bench: Bench) -> None:
        super().__init__(name="passing", daemon=True)
        self._bench = bench
        self.client = Steady(bench.api.url, Ledger(bench.folder / "ledger-passing.jsonl"))
        self.kills = 0
        self.error = ""

    def run(self) -> None:
        """Do all of it; what went wrong is kept for who joins."""
        try:
            for where in WHERE:
                self.worker_round(where)
                self.api_round(where)
            for where in ("before_reply", "in_reply"):
                self.begin_after_death(where)
                self.adopt_after_death(where)
        except (AssertionError, TimeoutError, RuntimeError) as error:
            self.error = f"{type(error).__name__}: {error}"[:2000]
        finally:
            self.client.http.close()

    def worker_round(self, where: str) -> None:
        """A worker begins and leaves; each thing it says only then is cut once."""
        armed = self._arm("passing", WORKER_BEGINS, where)
        worker = self._start()
        self._all_fired(armed)
        leaving = self._arm("passing", ("leave",), where)
        assert worker.stop() == 0, worker.said()[-2000:]
        self._all_fired(leaving)

    def api_round(self, where: str) -> None:
        """An API begins, serves and stops."""
        armed = self._arm("second", API_BEGINS, where)
        api = self._bench.start_api("second")
        client = Steady(api.url, self.client.ledger)
        client.submit(wait=True)
        client.all_final()
        client.http.close()
        self._all_fired(armed)
        assert api.process.stop() == 0, api.process.said()[-2000:]

    def begin_after_death(self, where: str) -> None:
        """A worker dies with jobs; the answer that names them to its next life is cut."""
        proxy = self._bench.proxies["passing"]
        # On a busy machine the others may bury it before it is back.
        for _ in range(4):
            self._die(self._start())
            [armed] = proxy.arm(Point("register", where, least=_NAMES_JOBS))
            worker = self._start()
            proxy.disarm(armed)
            assert worker.stop() == 0, worker.said()[-2000:]
            self.client.all_final()
            if armed.fired.is_set():
                return
        raise AssertionError(f"no life began with jobs of the one before, {where}")

    def adopt_after_death(self, where: str) -> None:
        """A worker dies with jobs; the answer that names them to who adopts them is cut."""
        self._die(self._start())
        proxies = [self._bench.proxies[role] for role in ("api", "steady")]
        armed = [proxy.arm(Point("adopt", where, least=_NAMES_JOBS))[0] for proxy in proxies]
        until(lambda: any(each.fired.is_set() for each in armed), 20, "the dead are buried")
        for proxy, each in zip(proxies, armed, strict=True):
            proxy.disarm(each)
        self.client.all_final()

    def _start(self) -> Process:
        proxy = self._bench.proxies["passing"]
        before = proxy.seen["claim"]
        worker = self._bench.start_worker("passing", "b")
        until(lambda: proxy.seen["claim"] > before, 40, "the passing worker works")
        return worker

    def _die(self, worker: Process) -> None:
        """Kill a worker while it runs jobs."""
        engine = worker.engine()

        def runs() -> bool:
            job = self.client.submit("slow")["id"]
            until(lambda: job in self._last_runs(), 20, "it runs")
            run = self._last_runs()[job]
            if run["pid"] != engine:
                return False
            # Seen late it may be over: asleep, the worker cannot tell of an end that was not yet.
            worker.signal(signal.SIGSTOP)
            if time.time() - run["wall"] < SLOW_S:
                return True
            worker.signal(signal.SIGCONT)
            return False

        until(runs, 40, f"{MODEL.name} runs on the passing worker")
        worker.kill_tree()
        self.kills += 1

    def _last_runs(self) -> dict[str, dict[str, Any]]:
        """The last runs, by their jobs."""
        lines = self._bench.side_log.read_text().splitlines()[-40:]
        return {row["job"]: row for row in map(json.loads, lines)}

    def _arm(self, role: str, names: tuple[str, ...], where: str) -> list[Armed]:
        return self._bench.proxies[role].arm(*(Point(name, where) for name in names))

    def _all_fired(self, armed: list[Armed]) -> None:
        missed = [each.point for each in armed if not each.wait(15)]
        assert not missed, missed
