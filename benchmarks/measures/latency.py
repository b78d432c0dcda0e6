"""Submit to result for one client that waits, beside an empty route and taskiq's wait_result."""

from __future__ import annotations

from contextlib import ExitStack

from benchmarks.bench import Bench, echo_bodies
from benchmarks.generate import Load
from benchmarks.processes import headrace_api, headrace_worker, peer, taskiq_worker
from benchmarks.report import Row

HEADRACE, EMPTY, TASKIQ = "headrace", "empty FastAPI route", "FastAPI + taskiq"


def measure(bench: Bench) -> list[Row]:
    """One connection, one request at a time."""
    bodies = echo_bodies(bench.sizes.single)
    p50: dict[str, list[float]] = {HEADRACE: [], EMPTY: [], TASKIQ: []}
    p99: dict[str, list[float]] = {HEADRACE: [], EMPTY: [], TASKIQ: []}
    with ExitStack() as stack:
        api = stack.enter_context(headrace_api(bench.redis_url, bench.log("api")))
        stack.enter_context(headrace_worker(api, bench.redis_url, "echo", bench.log("worker")))
        empty = stack.enter_context(peer("empty_route", bench.redis_url, bench.log("empty")))
        other = stack.enter_context(peer("taskiq_app", bench.redis_url, bench.log("taskiq")))
        stack.enter_context(taskiq_worker(bench.redis_url, bench.log("taskiq-worker")))
        wait = {"Prefer": "wait"}
        loads = {
            HEADRACE: (200, Load(api.port, "/v1/models/echo/jobs", bodies, 1, headers=wait)),
            EMPTY: (202, Load(empty, "/jobs", bodies, 1)),
            TASKIQ: (200, Load(other, "/wait", bodies, 1)),
        }
        for _, load in loads.values():
            bench.load(load)
        for order in bench.rounds(list(loads)):
            for name in order:
                status, load = loads[name]
                report = bench.load(load)
                report.demand(status)
                p50[name].append(report.quantile(0.5) * 1000)
                p99[name].append(report.quantile(0.99) * 1000)
                bench.say(f"{name}: p50 {p50[name][-1]:.2f} ms, p99 {p99[name][-1]:.2f} ms")
    return [
        Row("submit → result p50", "ms", p50[HEADRACE], EMPTY, p50[EMPTY], "≤ 4 ms, aim 2.5"),
        Row("submit → result p50", "ms", p50[HEADRACE], TASKIQ, p50[TASKIQ], "< 1"),
        Row("submit → result p99", "ms", p99[HEADRACE], TASKIQ, p99[TASKIQ], "≤ 10 ms"),
    ]
