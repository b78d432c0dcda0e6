"""Embedding jobs per second over HTTP beside a bare offline loop on the same texts."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np

from benchmarks.bench import Bench, threads
from benchmarks.generate import Load, Report
from benchmarks.processes import headrace_api, headrace_worker
from benchmarks.report import Row
from benchmarks.texts import texts

HEADRACE, OFFLINE = "headrace", "offline loop"
#: Outputs further than this from the direct ones make the run void.
LEAST_COSINE = 0.999


def measure(bench: Bench) -> list[Row]:
    """Submit singly over 64 connections, read all outcomes, compare every vector."""
    chosen = texts(bench.sizes.embed_jobs)
    bodies = [json.dumps({"input": {"text": text}}).encode() for text in chosen]
    runs: dict[str, list[float]] = {HEADRACE: [], OFFLINE: []}
    cosines: list[float] = []
    direct = np.empty((0, 384), dtype=np.float32)
    with (
        headrace_api(bench.redis_url, bench.log("api")) as api,
        headrace_worker(api, bench.redis_url, "embed", bench.log("worker"), threads()),
    ):
        load = Load(api.port, "/v1/models/embed/jobs", bodies, read_path="/v1/jobs", outcomes=True)
        for _ in range(bench.sizes.repeats):
            # The servers are up while the loop runs, but idle: nothing is queued.
            seconds, direct = _offline(bench, chosen)
            runs[OFFLINE].append(len(chosen) / seconds)
            report = bench.load(load)
            report.demand(202, "succeeded")
            runs[HEADRACE].append(report.per_second)
            cosines.append(_least_cosine(report, direct))
            bench.say(
                f"offline {runs[OFFLINE][-1]:.1f}/s, headrace {runs[HEADRACE][-1]:.1f}/s, "
                f"least cosine {cosines[-1]:.6f}"
            )
    return [
        Row("embed", "jobs/s", runs[HEADRACE], OFFLINE, runs[OFFLINE], "≥ 0.75, aim 0.90"),
        Row("embed, least cosine to the direct output", "", cosines, aim="≥ 0.999"),
    ]


def _offline(bench: Bench, chosen: list[str]) -> tuple[float, np.ndarray]:
    given, made = bench.folder / "texts.json", bench.folder / "vectors.npy"
    given.write_text(json.dumps(chosen))
    command = [sys.executable, "-m", "benchmarks.peers.offline", str(given), str(made)]
    done = subprocess.run([*command, str(threads())], stdout=subprocess.PIPE, check=True)
    return float(json.loads(done.stdout)["seconds"]), np.load(made)


def _least_cosine(report: Report, direct: np.ndarray) -> float:
    least = 1.0
    for outcome in report.outcomes:
        vector = np.asarray(outcome["output"]["embedding"])
        least = min(least, float(vector @ direct[outcome["index"]] / np.linalg.norm(vector)))
    if least < LEAST_COSINE:
        raise RuntimeError(f"an output is not the direct one: cosine {least:.4f}")
    return least
