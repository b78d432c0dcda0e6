"""How large each gate is, in CI and in full, and the report that each leaves."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

FULL = os.environ.get("CHAOS_SIZE") == "full"

#: name -> (in CI, in full)
SIZES: dict[str, tuple[int, int]] = {
    "campaign_jobs": (5_000, 100_000),
    "campaign_kills": (100, 1_000),
    "adoption_kills": (6, 200),
    "frozen_workers": (20, 200),
    "rolling_restarts": (10, 50),
    "redis_kills": (10, 100),
    "sentinel_failovers": (1, 5),
    "cluster_kills": (3, 30),
    "cut_pairs": (20, 2_000),
    "torn_cuts": (12, 1_000_000),
    "torn_shapes": (1, 1_000),
    "growth_jobs": (20_000, 100_000),
    "redis_kills_jobs": (20_000, 200_000),
    "webhook_events": (5_000, 50_000),
    "webhook_kills": (30, 300),
    "webhook_healthy": (10_000, 100_000),
    "webhook_dead_day": (200, 2_000),
    "simulation_examples": (500, 5_000),
    "simulation_steps": (50, 200),
}


def size(name: str) -> int:
    """Return how many of it this run has."""
    return SIZES[name][FULL]


def seed() -> int:
    """Return the seed to run with: the one of `CHAOS_SEED`, else a new one."""
    return int(os.environ.get("CHAOS_SEED") or secrets.randbelow(1_000_000))


def report(gate: str, passed: bool, *, seed: int | None = None, **counts: object) -> None:
    """Print the one line that a gate leaves, and append it to the file `CHAOS_REPORT`."""
    about = {} if seed is None else {"seed": seed}
    line = json.dumps({"gate": gate, **about, **counts, "verdict": "ok" if passed else "FAILED"})
    print(line)
    if os.environ.get("CHAOS_REPORT"):
        with Path(os.environ["CHAOS_REPORT"]).open("a") as file:
            file.write(line + "\n")
