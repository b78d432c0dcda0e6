"""Redis goes away while jobs are in flight: what its clients are told meanwhile, and after."""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import httpx

from headrace.chaos.client import Client
from headrace.chaos.ledger import Ledger
from headrace.chaos.side_log import SideLog
from headrace.chaos.stack import Api, Stack, until

from .workers import Books

#: Requests of each kind that are held when Redis goes.
HELD = 20
WORKERS = 2


@dataclass
class Held:
    """A request that asked to be held, its answer, and when it came."""

    job: str | None
    answer: Future[tuple[httpx.Response, float]]


@dataclass
class Outage:
    """A service with jobs in flight, and the book of a client."""

    stack: Stack
    api: Api
    ledger: Ledger
    client: Client
    side_log: SideLog
    #: when Redis went away and when it was back (monotonic)
    began: float = 0.0
    ended: float = 0.0
    #: seconds that answers took while it was away, once that had been noticed
    took: list[float] = field(default_factory=list)

    def hold(self, pool: ThreadPoolExecutor, seconds: float) -> list[Held]:
        """Have reads and submits held for jobs that take long; returns when all are held."""
        given = {"n": -1, "seconds": seconds}
        ids = [self.client.submit("chaos", given, f"held-{i}")["id"] for i in range(HELD)]
        reads = [
            Held(job, pool.submit(_timed, self.api, "GET", f"/v1/jobs/{job}?wait=60"))
            for job in ids
        ]
        path, headers = "/v1/models/chaos/jobs", {"Prefer": "wait=60"}
        submits = [
            Held(
                None,
                pool.submit(_timed, self.api, "POST", path, json={"input": given}, headers=headers),
            )
            for _ in range(HELD)
        ]
        books = Books(self.stack, "chaos")
        until(lambda: len(books.watched()) >= 2 * HELD, what="all are held")
        assert not any(each.answer.done() for each in (*reads, *submits))
        return [*reads, *submits]

    def sit_out(self, seconds: float, *, blind_s: float) -> None:
        """Ask all the time, as clients do; after `blind_s` every answer has to come at once."""
        while (since := time.monotonic() - self.began) < seconds:
            for method, path, given in (
                ("POST", "/v1/models/chaos/jobs", {"json": {"input": {"n": -2}}}),
                ("GET", f"/v1/jobs/{next(iter(self.ledger.accepted))}", {}),
                ("GET", f"/v1/jobs/{next(iter(self.ledger.accepted))}?wait=60", {}),
                ("GET", "/healthz", {}),
            ):
                asked = time.monotonic()
                answer, at = _timed(self.api, method, path, **given)
                refused(answer)
                if since > blind_s:
                    self.took.append(at - asked)
            assert self.api.status("/livez") == 200
            time.sleep(0.5)

    def resumed_after(self) -> float:
        """Seconds from the return of Redis to the first run that began after it."""
        self.side_log.poll()
        began = [run.began for run in self.side_log.runs() if run.began > self.ended]
        return min(began) - self.ended

    def verdict(self) -> dict[str, Any]:
        """Compare what the ledger was told with what the model did."""
        self.side_log.poll()
        runs = self.side_log.by_job
        told = self.ledger.outcomes
        return {
            **self.ledger.verdict(),
            "ran_again": sum(len(runs[job]) > 1 for job in self.ledger.accepted),
            "charged": sum(each["crashes"] for each in told.values()),
            "engines": len({run.pid for run in self.side_log.runs()}),
            "other_output": sum(
                each["output"]["run"] not in {run.run for run in runs[job]}
                for job, each in told.items()
            ),
            "running_then": sum(
                run.began < self.began < (run.ended or float("inf")) for run in self.side_log.runs()
            ),
            "ended_meanwhile": sum(
                self.began < (run.ended or 0) < self.ended for run in self.side_log.runs()
            ),
        }


@contextmanager
def in_flight(stack: Stack, jobs: int, seconds: float) -> Iterator[Outage]:
    """Start an API and workers, and submit jobs; yields when all are in."""
    api = stack.api()
    for number in range(WORKERS):
        stack.worker(data_dir=str(stack.folder / f"data-{number}"))
    api.ready("chaos")
    ledger = Ledger(stack.folder / "ledger.jsonl")
    client = Client([api], ledger)
    outage = Outage(stack, api, ledger, client, SideLog(stack.side_log))
    try:
        # In one request: one by one they may take as long as the jobs, on a busy machine.
        inputs = [{"n": n, "seconds": seconds} for n in range(jobs)]
        client.submit_batch("chaos", inputs, "all")
        yield outage
    finally:
        ledger.close()


def refused(answer: httpx.Response) -> None:
    """Check the one answer that there is while Redis is away."""
    assert (answer.status_code, answer.json()["code"]) == (503, "queue_unavailable"), answer.text
    assert 1 <= int(answer.headers["retry-after"]) <= 10


def _timed(api: Api, method: str, path: str, **given: Any) -> tuple[httpx.Response, float]:
    """Return the answer and when it came."""
    return api.call(method, path, **given), time.monotonic()
