"""What a job costs each part, and a few points of the arithmetic run for real."""

from __future__ import annotations

import asyncio
import json
import os
import random
import statistics
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx
from redis.asyncio import Redis

from benchmarks.bench import Bench, echo_bodies
from benchmarks.capacity import COSTS, Queue
from benchmarks.generate import Load
from benchmarks.measures import webhooks
from benchmarks.process_tree import descendants
from benchmarks.processes import Api, headrace_api, headrace_worker
from benchmarks.queue_simulation import come, serve
from benchmarks.report import Row

TABLE = "docs/capacity.md"
#: benchmarks/models/steady: seconds of a batch, and how many fit into one.
BATCH_S, BATCH = 0.1, 8
#: Jobs a second, and workers, of the points that are run.
POINTS = ((20.0, 1), (40.0, 1), (60.0, 1), (100.0, 2))
_POINT_S = 20.0


def measure(bench: Bench) -> list[Row]:
    """Divide the CPU time of each process by the jobs; then run models at steady rates."""
    return [*_costs(bench), *_points(bench)]


def _costs(bench: Bench) -> list[Row]:
    bodies = echo_bodies(bench.sizes.echo_jobs)
    with ExitStack() as stack:
        allowed = {"HEADRACE_WEBHOOK_ALLOW": "127.0.0.0/8"}
        log = bench.log("api")
        api = stack.enter_context(headrace_api(bench.redis_url, log, environment=allowed))
        worker = stack.enter_context(
            headrace_worker(api, bench.redis_url, "echo", bench.log("worker"))
        )
        load = Load(api.port, "/v1/models/echo/jobs", bodies, read_path="/v1/jobs")
        bench.load(replace(load, bodies=bodies[:500])).demand(202, "succeeded")
        before = _spent(bench, api.pid, worker)
        bench.load(load).demand(202, "succeeded")
        after = _spent(bench, api.pid, worker)
        each = {name: (after[name] - before[name]) / len(bodies) for name in after}
        each |= _cost_of_events(bench, api)
    units = {name: (1e6, "µs") if name.endswith("_s") else (1, "B") for name in each}
    return [
        Row(name, units[name][1], [cost * units[name][0]], TABLE, [_known(name) * units[name][0]])
        for name, cost in each.items()
    ]


def _known(name: str) -> float:
    return float(getattr(COSTS, name))


def _cost_of_events(bench: Bench, api: Api) -> dict[str, float]:
    """Let jobs end whose events nobody tells, then start a sender."""
    count = bench.sizes.webhooks
    url = f"http://127.0.0.1:{api.port}"
    with webhooks.receiver(bench) as port, httpx.Client(base_url=url, timeout=60) as client:
        hook = {"url": f"http://127.0.0.1:{port}/hook", "secret": webhooks.SECRET}
        webhooks.run_jobs(client, count, hook)
        before = asyncio.run(_redis(bench.redis_url))
        with webhooks.sender(bench) as pid:
            webhooks.rate(port, count)
            spent = _cpu(pid)
        after = asyncio.run(_redis(bench.redis_url))
    return {
        "sender_s": spent / count,
        "redis_event_s": (after["redis_s"] - before["redis_s"]) / count,
        "event_bytes": (after["kept_bytes"] - before["kept_bytes"]) / count,
    }


def _spent(bench: Bench, api: int, worker: int) -> dict[str, float]:
    """Return CPU seconds of each process so far, and bytes that Redis moved and holds."""
    feeder, engine = descendants(worker)[:2]
    own = {"api_s": _cpu(*descendants(api)), "feeder_s": _cpu(feeder), "engine_s": _cpu(engine)}
    return own | asyncio.run(_redis(bench.redis_url))


async def _redis(url: str) -> dict[str, float]:
    async with Redis.from_url(url) as client:
        found = await client.info("everything")
    return {
        "redis_s": found["used_cpu_user_main_thread"] + found["used_cpu_sys_main_thread"],
        "log_bytes": float(found["aof_current_size"]),
        "wire_bytes": float(found["total_net_input_bytes"] + found["total_net_output_bytes"]),
        "kept_bytes": float(found["used_memory"]) - float(found["mem_clients_normal"]),
    }


def _cpu(*pids: int) -> float:
    ticks = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _points(bench: Bench) -> list[Row]:
    rows = []
    with headrace_api(bench.redis_url, bench.log("api-of-points")) as api:
        for per_second, workers in POINTS:
            name = f"{per_second:.0f} jobs/s, {workers} workers"
            found = run_point(bench, api, per_second, workers, _POINT_S)
            told = simulated(per_second, workers)
            paper = Queue(per_second / workers, BATCH_S, BATCH)
            bench.say(
                f"{name}: batch {found.batch:.2f} (simulated {told.batch:.2f}, paper "
                f"{paper.mean_batch:.2f}), wait {found.wait_s * 1000:.0f} ms (simulated "
                f"{told.wait_s * 1000:.0f}, paper {paper.mean_wait_s * 1000:.0f})"
            )
            rows.append(Row(f"batch, {name}", "", [found.batch], "simulation", [told.batch]))
            waits = [found.wait_s * 1000], [told.wait_s * 1000]
            rows.append(Row(f"mean wait, {name}", "ms", waits[0], "simulation", waits[1]))
    return rows


@dataclass(frozen=True, slots=True)
class Point:
    """Mean size of a batch, and mean seconds of a wait."""

    batch: float
    wait_s: float


def simulated(per_second: float, workers: int) -> Point:
    """Return what one of so many workers would do, each with its share of the jobs."""
    jobs = 20_000
    served = serve(come(per_second / workers, jobs, random.Random(1)), BATCH_S, BATCH)
    return Point(jobs / served.batches, served.waited_s / jobs)


def run_point(bench: Bench, api: Api, per_second: float, workers: int, seconds: float) -> Point:
    """Return what so many real workers do."""
    with _workers(bench, api, workers):
        return _steady(bench, api, per_second, seconds)


@contextmanager
def _workers(bench: Bench, api: Api, count: int) -> Iterator[None]:
    with ExitStack() as stack:
        for number in range(count):
            log = bench.log(f"worker-{number}")
            stack.enter_context(headrace_worker(api, bench.redis_url, "steady", log))
        # The health of the model is that of any worker.
        while int(str(api.get("/v1/models/steady/scale")["workers_ready"])) < count:
            time.sleep(0.1)
        yield


def _steady(bench: Bench, api: Api, per_second: float, seconds: float) -> Point:
    count = int(seconds * per_second)
    times = come(per_second, count, random.Random(per_second))
    bodies = [json.dumps({"input": {"message": "hello"}}).encode()] * count
    # Few connections: one that idles for seconds is closed.
    load = Load(api.port, "/v1/models/steady/jobs", bodies, connections=8, times=times)
    bench.load(load).demand(202)
    while any(api.get("/v1/models/steady/scale")[each] for each in ("queued", "running")):
        time.sleep(0.1)
    metrics = list(_metrics(api, count))
    # A job sees its own batch: small ones are seen by few, so each counts by its share.
    batch = len(metrics) / sum(1 / each["batch_size"] for each in metrics)
    return Point(batch, statistics.fmean(each["queue_s"] for each in metrics))


def _metrics(api: Api, count: int) -> Iterator[dict[str, float]]:
    cursor, left = "", count
    while left > 0:
        page = api.get(f"/v1/jobs?model=steady&limit={min(100, left)}{cursor}")
        for job in page["data"]:  # type: ignore[attr-defined]
            if job["status"] != "succeeded":
                raise RuntimeError(f"a job is {job['status']}: {job['error']}")
            yield job["metrics"]
            left -= 1
        cursor = f"&cursor={page['next_cursor']}"
