"""The load generator: a process of its own that takes one plan on stdin and prints one report."""

from __future__ import annotations

import resource
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson

from benchmarks.http_client import Answer, Driver, Source, encode

FINAL = {"succeeded", "failed", "canceled", "expired", "timed_out"}
PAGE = 100
#: Seconds before unfinished jobs are asked for again: a client that polls in a loop is the load.
AGAIN_S = 0.05


@dataclass(slots=True)
class Ledger:
    """What the client knows by itself: what it sent and what came of it."""

    bodies: deque[tuple[int, bytes]]
    request: dict[str, Any]
    reading: bool
    waiting_for: int = 0
    statuses: dict[int, int] = field(default_factory=dict)
    latencies: list[float] = field(default_factory=list)
    accepted: dict[str, int] = field(default_factory=dict)
    to_read: deque[str] = field(default_factory=deque)
    outcomes: dict[int, dict[str, Any]] = field(default_factory=dict)
    reads: int = 0
    #: When each body is sent, in seconds from the start; empty where all go as fast as they can.
    times: deque[float] = field(default_factory=deque)
    began: float = field(default_factory=time.perf_counter)

    def is_early(self) -> bool:
        """Whether the next body has a time that has not come."""
        return bool(self.times) and time.perf_counter() < self.began + self.times[0]

    def settle(self, job: dict[str, Any], index: int) -> None:
        """Note the outcome of the body with this index."""
        self.outcomes[index] = {"status": job["status"], "output": job.get("output")}


class Submits:
    """Sends the ledger's bodies one by one on one connection."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self._index = -1

    @property
    def finished(self) -> bool:
        """True when no body is left."""
        return not self._ledger.bodies

    def next_request(self) -> bytes | None:
        """Take the next body off the pile."""
        if not self._ledger.bodies or self._ledger.is_early():
            return None
        if self._ledger.times:
            self._ledger.times.popleft()
        self._index, request = self._ledger.bodies.popleft()
        self._ledger.waiting_for += 1
        return request

    def take(self, answer: Answer) -> None:
        """Count the answer; remember the id where outcomes are to be read."""
        ledger = self._ledger
        ledger.waiting_for -= 1
        ledger.latencies.append(answer.seconds)
        ledger.statuses[answer.status] = ledger.statuses.get(answer.status, 0) + 1
        if not ledger.reading:
            return
        job = orjson.loads(answer.body)
        if answer.status == 202:
            ledger.accepted[job["id"]] = self._index
            ledger.to_read.append(job["id"])
        elif answer.status == 200:
            ledger.settle(job, self._index)


class Reads:
    """Reads outcomes in pages by id on one connection until every accepted job has one."""

    def __init__(self, ledger: Ledger, path: str, headers: dict[str, str]) -> None:
        self._ledger = ledger
        self._path = path
        self._headers = headers
        self._asked: list[str] = []
        self._not_before = 0.0

    @property
    def finished(self) -> bool:
        """True when all is submitted and all is read."""
        ledger = self._ledger
        submitting = ledger.bodies or ledger.waiting_for
        return not submitting and not ledger.to_read and not self._asked

    def next_request(self) -> bytes | None:
        """Ask for the oldest unread ids, a full page while more are still coming."""
        ledger = self._ledger
        submitting = bool(ledger.bodies) or bool(ledger.waiting_for)
        if not ledger.to_read or (submitting and len(ledger.to_read) < PAGE):
            return None
        if time.perf_counter() < self._not_before:
            return None
        self._asked = [ledger.to_read.popleft() for _ in range(min(PAGE, len(ledger.to_read)))]
        path = f"{self._path}?limit={PAGE}&ids={','.join(self._asked)}"
        return encode("GET", path, headers=self._headers)

    def take(self, answer: Answer) -> None:
        """Note the final ones; put the others back to be asked for again."""
        ledger = self._ledger
        ledger.reads += 1
        if answer.status != 200:
            raise RuntimeError(f"reading outcomes: {answer.status} {answer.body[:300]!r}")
        unread = dict.fromkeys(self._asked)
        for job in orjson.loads(answer.body)["data"]:
            if job["status"] in FINAL:
                ledger.settle(job, ledger.accepted[job["id"]])
                unread.pop(job["id"], None)
        self._asked = []
        ledger.to_read.extend(unread)
        if unread:
            self._not_before = time.perf_counter() + AGAIN_S


def run(plan: dict[str, Any]) -> dict[str, Any]:
    """Carry out one plan and report what was seen and what it cost this process."""
    headers = plan.get("headers", {})
    inputs = [line for line in Path(plan["bodies"]).read_bytes().split(b"\n") if line]
    bodies = deque(
        (index, encode("POST", plan["path"], body, headers)) for index, body in enumerate(inputs)
    )
    read_path = plan.get("read_path")
    times = deque(plan.get("times") or ())
    ledger = Ledger(bodies, plan, reading=plan.get("outcomes") is not None, times=times)
    sources: list[Source] = [Submits(ledger) for _ in range(plan["connections"])]
    if read_path:
        sources.append(Reads(ledger, read_path, headers))
    before = resource.getrusage(resource.RUSAGE_SELF)
    seconds = Driver("127.0.0.1", plan["port"], sources).run()
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    if plan.get("outcomes"):
        lines = [orjson.dumps({"index": i, **o}) for i, o in sorted(ledger.outcomes.items())]
        Path(plan["outcomes"]).write_bytes(b"\n".join(lines))
    ledger.latencies.sort()
    return {
        "seconds": seconds,
        "requests": len(inputs),
        "reads": ledger.reads,
        "cpu_us_per_request": cpu * 1e6 / max(len(inputs) + ledger.reads, 1),
        "statuses": {str(status): count for status, count in ledger.statuses.items()},
        "outcomes": _counted(ledger),
        "latencies": ledger.latencies,
    }


def _counted(ledger: Ledger) -> dict[str, int]:
    counted: dict[str, int] = {}
    for outcome in ledger.outcomes.values():
        counted[outcome["status"]] = counted.get(outcome["status"], 0) + 1
    return counted


if __name__ == "__main__":
    sys.stdout.buffer.write(orjson.dumps(run(orjson.loads(sys.stdin.buffer.read()))))
