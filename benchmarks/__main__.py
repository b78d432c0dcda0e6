"""`python -m benchmarks [NAME …] [--quick]`: measure, print one table, write results.md."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable
from dataclasses import replace

from benchmarks.bench import QUICK, Bench, Sizes, opened
from benchmarks.measures import (
    capacity,
    claim,
    echo,
    embed,
    latency,
    memory,
    redis_bytes,
    submits,
    webhooks,
)
from benchmarks.report import Row, keep, plain

MEASURES: dict[str, Callable[[Bench], list[Row]]] = {
    "embed": embed.measure,
    "submits": submits.measure,
    "echo": echo.measure,
    "latency": latency.measure,
    "memory": memory.measure,
    "claim": claim.measure,
    "bytes": redis_bytes.measure,
    "webhooks": webhooks.measure,
    "capacity": capacity.measure,
}


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(MEASURES)}")
    parser.add_argument("--quick", action="store_true", help="small sizes, one repeat, no files")
    parser.add_argument("--repeats", type=int, help="pairs of runs behind each median")
    parser.add_argument("--embed-jobs", type=int, help="texts in the embed measurement")
    parser.add_argument("--queued", type=int, nargs="+", help="queue lengths of the claim cost")
    chosen = parser.parse_args()
    unknown = set(chosen.names) - set(MEASURES)
    if unknown:
        parser.error(f"no measurement named {', '.join(sorted(unknown))}")
    return chosen


def sizes_of(chosen: argparse.Namespace) -> Sizes:
    """Apply the flags to the default sizes."""
    sizes = QUICK if chosen.quick else Sizes()
    if chosen.repeats:
        sizes = replace(sizes, repeats=chosen.repeats)
    if chosen.embed_jobs:
        sizes = replace(sizes, embed_jobs=chosen.embed_jobs)
    if chosen.queued:
        sizes = replace(sizes, queued=tuple(chosen.queued))
    return sizes


def main() -> None:
    """Run what was asked for, each measurement on a Redis of its own."""
    chosen = arguments()
    rows: list[Row] = []
    for name in chosen.names or MEASURES:
        began = time.monotonic()
        with opened(sizes_of(chosen)) as bench:
            rows += MEASURES[name](bench)
        print(f"{name}: {time.monotonic() - began:.0f} s", file=sys.stderr, flush=True)
    print(plain(rows))
    if not chosen.quick and not chosen.names:
        keep(rows)


if __name__ == "__main__":
    main()
