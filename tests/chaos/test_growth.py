"""Many jobs go through one API and one worker: neither they nor Redis keep anything of them."""

from __future__ import annotations

import asyncio
import time
import urllib.request

import pytest
import redis

from headrace.chaos.process import free_port, until
from headrace.chaos.stack import Stack

from .growing import MODEL, Size, Waves, size_of, slope
from .sizes import report, size

WAVE = 1000
#: Of all waves: code is compiled, pools and caches fill up.
WARM_UP = 0.4
TTL_S = 3
#: Bytes for each job that a process may grow by: 1 MB for 10,000 of them.
LIMIT = 100


@pytest.mark.timeout(900)
def test_nothing_grows_with_the_jobs() -> None:
    settings = {"result_ttl_s": str(TTL_S), "dead_ttl_s": str(TTL_S)}
    ports = [free_port(), free_port()]
    with Stack(**settings) as stack:
        api = stack.api(metrics_port=str(ports[0]))
        worker = stack.worker(MODEL, worker_port=str(ports[1]))
        api.ready(MODEL.name)
        pids = {"api": api.process.pid, "feeder": worker.pid, "engine": worker.engine()}
        waves = Waves(api.url)
        client = redis.Redis.from_url(stack.redis_url)
        asyncio.run(waves.send(WAVE))
        baseline = settled(client)
        count = size("growth_jobs") // WAVE
        sizes: dict[str, list[Size]] = {role: [] for role in pids}
        series: list[int] = []
        began = time.monotonic()
        for _ in range(count):
            asyncio.run(waves.send(WAVE))
            series.append(sum(scraped(port) for port in ports))
            for role, pid in pids.items():
                sizes[role].append(size_of(pid))
        seconds = time.monotonic() - began
        left = settled(client) - baseline
        client.close()
        judge(sizes, series, left, waves, seconds)


def settled(client: redis.Redis) -> set[bytes]:
    """Wait until every job is forgotten; return the keys that are left."""
    until(lambda: not client.keys("*:job:*"), 60, "every job is forgotten")
    return set(client.keys("*"))


def scraped(port: int) -> int:
    """Return how many lines a process shows of its metrics."""
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
        return len(answer.read().splitlines())


def judge(
    sizes: dict[str, list[Size]], series: list[int], left: set[bytes], waves: Waves, seconds: float
) -> None:
    """Say how much grew, and fail where something did."""
    first = int(len(series) * WARM_UP)
    grown = {
        role: slope([(n * WAVE, each.rss) for n, each in enumerate(every)][first:])
        for role, every in sizes.items()
    }
    # A connection may come or go with the moment that is looked at.
    more = {
        role: (each[-1].fds - each[first].fds, each[-1].threads - each[first].threads)
        for role, each in sizes.items()
    }
    good = (
        not waves.wrong
        and not left
        and all(each < LIMIT for each in grown.values())
        and all(fds <= 8 and threads <= 2 for fds, threads in more.values())
        and series[-1] == series[first]
    )
    report(
        "growth",
        good,
        jobs=len(series) * WAVE,
        seconds=round(seconds),
        mb_per_10k={role: round(each / 100, 3) for role, each in grown.items()},
        rss_mb={role: round(each[-1].rss / 1e6, 1) for role, each in sizes.items()},
        fds_threads=more,
        metric_lines=(series[first], series[-1]),
        keys_left=len(left),
        wrong=len(waves.wrong),
    )
    assert good, (waves.wrong[:3], left, more, grown)
