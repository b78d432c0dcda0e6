"""Durable submits per second beside a route that does one XADD and one that does nothing."""

from __future__ import annotations

from contextlib import ExitStack

from benchmarks.bench import Bench, echo_bodies
from benchmarks.generate import Load
from benchmarks.processes import headrace_api, headrace_worker, peer
from benchmarks.report import Row

HEADRACE, XADD, EMPTY = "headrace", "FastAPI + XADD", "empty FastAPI route"


def measure(bench: Bench) -> list[Row]:
    """Submit over 64 connections to one uvicorn worker each; no worker runs on either side."""
    bodies = echo_bodies(bench.sizes.requests)
    runs: dict[str, list[float]] = {HEADRACE: [], XADD: [], EMPTY: []}
    with ExitStack() as stack:
        api = stack.enter_context(headrace_api(bench.redis_url, bench.log("api")))
        with headrace_worker(api, bench.redis_url, "echo", bench.log("worker")):
            pass  # it has published the card, which outlives it
        targets = {HEADRACE: (api.port, "/v1/models/echo/jobs")}
        for name, module in ((XADD, "xadd_route"), (EMPTY, "empty_route")):
            port = stack.enter_context(peer(module, bench.redis_url, bench.log(module)))
            targets[name] = (port, "/jobs")
        for name, (port, path) in targets.items():
            bench.load(Load(port, path, bodies[:500])).demand(202)
            bench.say(f"warm: {name}")
        for order in bench.rounds(list(targets)):
            for name in order:
                port, path = targets[name]
                report = bench.load(Load(port, path, bodies))
                report.demand(202)
                runs[name].append(report.per_second)
                bench.say(
                    f"{name}: {report.per_second:,.0f}/s, "
                    f"generator {report.cpu_us_per_request:.0f} us"
                )
    ours = runs[HEADRACE]
    return [
        Row("durable submits", "/s", ours, XADD, runs[XADD], "≥ 1.3"),
        Row("durable submits", "/s", ours, EMPTY, runs[EMPTY], "≥ 0.8, aim 0.9"),
    ]
