"""Webhooks: how many a second are delivered beside a bare loop of posts, and how soon they come."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

import aiohttp
import httpx

from benchmarks.bench import Bench
from benchmarks.processes import (
    ROOT,
    headrace_api,
    headrace_worker,
    http_status,
    process,
    until,
)
from benchmarks.report import Row
from headrace.chaos.process import free_port

BARE = "a bare aiohttp loop, 8 at a time"
_AT_ONCE = 8
_BATCH = 1000
SECRET = "the secret of a benchmark"
_LONGEST_S = 120.0


def measure(bench: Bench) -> list[Row]:
    """Events that wait for a sender are told by it; then jobs end one at a time."""
    count, single = bench.sizes.webhooks, bench.sizes.single // 2
    rates: list[float] = []
    bare: list[float] = []
    with ExitStack() as stack:
        port = stack.enter_context(receiver(bench))
        allowed = {"HEADRACE_WEBHOOK_ALLOW": "127.0.0.0/8"}
        api = stack.enter_context(
            headrace_api(bench.redis_url, bench.log("api"), environment=allowed)
        )
        stack.enter_context(headrace_worker(api, bench.redis_url, "echo", bench.log("worker")))
        client = stack.enter_context(
            httpx.Client(base_url=f"http://127.0.0.1:{api.port}", timeout=60)
        )
        hook = {"url": f"http://127.0.0.1:{port}/hook", "secret": SECRET}
        for _ in range(bench.sizes.repeats):
            run_jobs(client, count, hook)
            with sender(bench):
                rates.append(rate(port, count))
            bare.append(asyncio.run(_bare(port, count)))
            bench.say(f"webhooks: {rates[-1]:.0f}/s, bare {bare[-1]:.0f}/s")
        with sender(bench):
            # Not what its start takes: it looks at every shard there is.
            _one_by_one(client, port, 20, hook)
            time.sleep(3)
            late = sorted(_one_by_one(client, port, single, hook))
    p50, p99 = late[len(late) // 2] * 1000, late[int(len(late) * 0.99)] * 1000
    bench.say(f"end of a job → first try: p50 {p50:.1f} ms, p99 {p99:.1f} ms")
    return [
        Row("webhooks delivered", "/s", rates, BARE, bare, "≥ 1,000 /s"),
        Row("end of a job → first try p50", "ms", [p50]),
        Row("end of a job → first try p99", "ms", [p99], aim="≤ 50 ms"),
    ]


@contextmanager
def receiver(bench: Bench) -> Iterator[int]:
    """Start a receiver; yield its port."""
    port = free_port()
    command = [sys.executable, "-m", "benchmarks.peers.receiver", str(port)]
    with process(command, bench.log("receiver"), {"PYTHONPATH": str(ROOT)}) as server:
        until(lambda: http_status(f"http://127.0.0.1:{port}/told") == 200, "receiver", server)
        yield port


@contextmanager
def sender(bench: Bench) -> Iterator[int]:
    """Start what sends; yield its pid."""
    environment = {
        "PYTHONPATH": str(ROOT),
        "HEADRACE_REDIS_URL": bench.redis_url,
        "HEADRACE_WEBHOOK_ALLOW": "127.0.0.0/8",
        "HEADRACE_LOG_FORMAT": "json",
    }
    command = [sys.executable, "-P", "-m", "webhooks", "--only", "sender"]
    with process(command, bench.log("sender"), environment) as started:
        yield started.pid


def run_jobs(client: httpx.Client, count: int, hook: dict[str, Any]) -> None:
    """Let so many jobs end while nobody tells of it."""
    for first in range(0, count, _BATCH):
        inputs = [{"message": f"text {first + n:08d}"} for n in range(min(_BATCH, count - first))]
        webhook = {**hook, "events": ["job.succeeded"]}
        body = {"inputs": inputs, "webhook": webhook}
        answer = client.post("/v1/models/echo/jobs/batch", json=body)
        answer.raise_for_status()
    end = time.monotonic() + _LONGEST_S
    while not _idle(client):
        if time.monotonic() > end:
            raise TimeoutError("the jobs do not end")
        time.sleep(0.1)


def _idle(client: httpx.Client) -> bool:
    figures = client.get("/v1/models/echo/scale").json()
    return not figures["queued"] and not figures["running"]


def _told(port: int, *, clear: bool = False) -> dict[str, Any]:
    asked = {"clear": "1"} if clear else {}
    return dict(httpx.get(f"http://127.0.0.1:{port}/told", params=asked).json())


def rate(port: int, count: int) -> float:
    """Wait for all events; return how many came in each second between the first and the last."""
    end = time.monotonic() + _LONGEST_S
    while len(_told(port)["events"]) < count:
        if time.monotonic() > end:
            raise TimeoutError("events are missing")
        time.sleep(0.5)
    came = sorted(at for at, _ in _told(port, clear=True)["events"])
    return count / (came[-1] - came[0])


async def _bare(port: int, count: int) -> float:
    """Post bodies of the same size as fast as a loop can; return how many went in a second."""
    url, body = f"http://127.0.0.1:{port}/hook", b"x" * 1000
    left = iter(range(count))
    began = time.monotonic()
    async with aiohttp.ClientSession() as session:

        async def post() -> None:
            for _ in left:
                async with session.post(url, data=body) as answer:
                    await answer.read()

        await asyncio.gather(*(post() for _ in range(_AT_ONCE)))
    _told(port, clear=True)
    return count / (time.monotonic() - began)


def _one_by_one(client: httpx.Client, port: int, count: int, hook: dict[str, Any]) -> list[float]:
    """Run jobs one after the other; return seconds from the end of each to its first try."""
    body = {"input": {"message": "text"}, "webhook": hook}
    for _ in range(count):
        answer = client.post("/v1/models/echo/jobs", json=body, headers={"Prefer": "wait"})
        answer.raise_for_status()
        # Unloaded: each has been told before the next one ends.
        time.sleep(0.01)
    end = time.monotonic() + _LONGEST_S
    while len(_told(port)["events"]) < count and time.monotonic() < end:
        time.sleep(0.2)
    return [late for _, late in _told(port, clear=True)["events"]]
