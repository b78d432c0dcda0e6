"""Echo jobs per second, from the first submit to the last outcome read, beside taskiq."""

from __future__ import annotations

from contextlib import ExitStack

from benchmarks.bench import Bench, echo_bodies
from benchmarks.generate import Load
from benchmarks.processes import headrace_api, headrace_worker, peer, taskiq_worker
from benchmarks.report import Row

HEADRACE, TASKIQ = "headrace", "FastAPI + taskiq"


def measure(bench: Bench) -> list[Row]:
    """Submit singly over 64 connections while one more connection reads outcomes in pages."""
    bodies = echo_bodies(bench.sizes.echo_jobs)
    runs: dict[str, list[float]] = {HEADRACE: [], TASKIQ: []}
    with ExitStack() as stack:
        api = stack.enter_context(headrace_api(bench.redis_url, bench.log("api")))
        stack.enter_context(headrace_worker(api, bench.redis_url, "echo", bench.log("worker")))
        other = stack.enter_context(peer("taskiq_app", bench.redis_url, bench.log("taskiq")))
        stack.enter_context(taskiq_worker(bench.redis_url, bench.log("taskiq-worker")))
        targets = {
            HEADRACE: (api.port, "/v1/models/echo/jobs", "/v1/jobs"),
            TASKIQ: (other, "/jobs", "/jobs"),
        }
        for port, path, read in targets.values():
            warm = bench.load(Load(port, path, bodies[:500], read_path=read))
            warm.demand(202, "succeeded")
        for order in bench.rounds(list(targets)):
            for name in order:
                port, path, read = targets[name]
                report = bench.load(Load(port, path, bodies, read_path=read))
                report.demand(202, "succeeded")
                runs[name].append(report.per_second)
                bench.say(
                    f"{name}: {report.per_second:,.0f} jobs/s, "
                    f"generator {report.cpu_us_per_request:.0f} us"
                )
    return [Row("echo end to end", "jobs/s", runs[HEADRACE], TASKIQ, runs[TASKIQ], "≥ 2, aim 3")]
