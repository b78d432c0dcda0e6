"""Memory: the API's at 1 and 4 HTTP workers, the engine's, and the weights counted once."""

from __future__ import annotations

from benchmarks.bench import Bench, echo_bodies
from benchmarks.generate import Load
from benchmarks.process_tree import Memory, tree
from benchmarks.processes import headrace_api, headrace_worker
from benchmarks.report import Row

MIB = 1024 * 1024


def measure(bench: Bench) -> list[Row]:
    """Serve `embed` with 1 and with 4 HTTP workers; read /proc after some requests."""
    rows = []
    for workers in (1, 4):
        with (
            headrace_api(bench.redis_url, bench.log("api"), workers) as api,
            headrace_worker(api, bench.redis_url, "embed", bench.log("worker")) as worker,
            headrace_worker(api, bench.redis_url, "echo", bench.log("echo")),
        ):
            bodies = echo_bodies(500)
            bench.load(Load(api.port, "/v1/models/echo/jobs", bodies, read_path="/v1/jobs")).demand(
                202, "succeeded"
            )
            rows += _rows(workers, tree(api.pid), tree(worker))
    return rows


def _rows(workers: int, api: list[Memory], worker: list[Memory]) -> list[Row]:
    engine = max(worker, key=lambda each: each.private)
    at = f"{workers} HTTP worker{'s' if workers > 1 else ''}"
    torch = sum(each.maps_torch for each in api + worker)
    return [
        Row(
            f"API process RSS, largest, {at}",
            "MiB",
            [_mib(max(m.resident for m in api))],
            aim="≤ 90 each",
        ),
        Row(f"API private, all processes, {at}", "MiB", [_mib(sum(m.private for m in api))]),
        Row(f"engine private, {at}", "MiB", [_mib(engine.private)]),
        Row(f"whole tree private, {at}", "MiB", [_mib(sum(m.private for m in api + worker))]),
        Row(f"processes with torch mapped, {at}", "", [float(torch)], aim="1"),
    ]


def _mib(size: int) -> float:
    return size / MIB
