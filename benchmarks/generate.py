"""Start the load generator as a process of its own and read its report."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

#: A generator that costs more than this might be what is measured.
CPU_LIMIT_US = 60.0


@dataclass(frozen=True, slots=True)
class Load:
    """What to send: bodies as JSON, to one path of one port, over some connections."""

    port: int
    path: str
    bodies: list[bytes]
    connections: int = 64
    headers: dict[str, str] | None = None
    read_path: str | None = None
    outcomes: bool = False
    #: When each body is sent, in seconds from the start.
    times: list[float] | None = None


@dataclass(frozen=True, slots=True)
class Report:
    """What the generator saw."""

    seconds: float
    requests: int
    cpu_us_per_request: float
    statuses: dict[str, int]
    latencies: list[float]
    counts: dict[str, int]
    outcomes: list[dict[str, Any]]

    @property
    def per_second(self) -> float:
        """Return jobs (not reads) per second."""
        return self.requests / self.seconds

    def quantile(self, share: float) -> float:
        """Return a latency quantile in seconds."""
        return self.latencies[min(int(len(self.latencies) * share), len(self.latencies) - 1)]

    def demand(self, status: int, outcome: str | None = None) -> None:
        """Refuse to report figures of a run in which anything went wrong."""
        if self.statuses != {str(status): self.requests}:
            raise RuntimeError(f"expected {self.requests} of {status}, got {self.statuses}")
        if outcome is not None and self.counts != {outcome: self.requests}:
            raise RuntimeError(f"expected {self.requests} of {outcome}, got {self.counts}")


def generate(load: Load) -> Report:
    """Run one load in its own process and wait for the report."""
    with tempfile.TemporaryDirectory(prefix="headrace-load-") as folder:
        bodies = Path(folder, "bodies")
        bodies.write_bytes(b"\n".join(load.bodies))
        outcomes = Path(folder, "outcomes")
        plan = {
            "port": load.port,
            "path": load.path,
            "bodies": str(bodies),
            "connections": load.connections,
            "headers": load.headers or {},
            "read_path": load.read_path,
            "times": load.times,
            "outcomes": str(outcomes) if load.outcomes or load.read_path else None,
        }
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.load"],
            input=orjson.dumps(plan),
            stdout=subprocess.PIPE,
            check=True,
        )
        report = orjson.loads(done.stdout)
        read = (
            [orjson.loads(line) for line in outcomes.read_bytes().splitlines()]
            if (plan["outcomes"])
            else []
        )
    return Report(
        seconds=report["seconds"],
        requests=report["requests"],
        cpu_us_per_request=report["cpu_us_per_request"],
        statuses=report["statuses"],
        latencies=report["latencies"],
        counts=report["outcomes"],
        outcomes=read,
    )
