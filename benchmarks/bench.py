"""What every measurement is given: sizes, a folder for logs and one Redis with fsync always."""

from __future__ import annotations

import json
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.generate import CPU_LIMIT_US, Load, Report, generate
from benchmarks.processes import redis


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much to measure."""

    repeats: int = 3
    requests: int = 6000
    echo_jobs: int = 6000
    single: int = 1000
    embed_jobs: int = 2000
    queued: tuple[int, ...] = (1_000, 100_000, 1_000_000)
    tenants: int = 1_000
    bytes_jobs: int = 20_000
    webhooks: int = 10_000


QUICK = Sizes(
    repeats=1,
    requests=1000,
    echo_jobs=1000,
    single=200,
    embed_jobs=128,
    queued=(1_000, 10_000),
    tenants=100,
    bytes_jobs=2_000,
    webhooks=1_000,
)


@dataclass(frozen=True, slots=True)
class Bench:
    """One run of the benchmarks."""

    sizes: Sizes
    folder: Path
    redis_url: str

    def log(self, name: str) -> Path:
        """Return the file that takes a process's output."""
        return self.folder / f"{name}.log"

    def load(self, load: Load) -> Report:
        """Run a load; say so when the generator itself costs too much to be trusted."""
        report = generate(load)
        if report.cpu_us_per_request > CPU_LIMIT_US and not load.outcomes:
            self.say(f"generator: {report.cpu_us_per_request:.0f} us CPU per request")
        return report

    def rounds(self, names: list[str]) -> Iterator[list[str]]:
        """Yield the names once per repeat, each time beginning with another one."""
        for number in range(self.sizes.repeats):
            turn = number % len(names)
            yield names[turn:] + names[:turn]

    @staticmethod
    def say(text: str) -> None:
        """Print progress beside the table."""
        print(f"  {text}", file=sys.stderr, flush=True)


@contextmanager
def opened(sizes: Sizes) -> Iterator[Bench]:
    """Start Redis in a fresh folder; keep the folder only when something failed."""
    folder = Path(tempfile.mkdtemp(prefix="headrace-bench-"))
    try:
        with redis(folder) as url:
            yield Bench(sizes, folder, url)
    except BaseException:
        print(f"logs are in {folder}", file=sys.stderr)
        raise
    shutil.rmtree(folder)


def echo_bodies(count: int) -> list[bytes]:
    """Return submits for examples/echo, each with a text of its own."""
    return [json.dumps({"input": {"message": f"text {n:08d}"}}).encode() for n in range(count)]


def threads() -> int:
    """Return how many cores this process may use."""
    return len(os.sched_getaffinity(0))
