"""The few numbers that decide how long things live and how often they are tried."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property

from jobs.errors import problem


def _error(code: str, detail: str) -> bytes:
    return json.dumps(problem(code, detail), separators=(",", ":")).encode()


@dataclass(frozen=True)
class QueueOptions:
    """How long jobs are kept and waited for; durations in seconds."""

    result_ttl_s: float = 3600
    dead_ttl_s: float = 7 * 86400
    max_queue_age_s: float = 7 * 86400
    max_queue_depth: int = 1_000_000
    beat_limit_s: float = 10
    max_attempts: int = 3
    max_crashes: int = 3

    @cached_property
    def policy(self) -> list[bytes | int]:
        """Return what every script takes first, in the order of the prelude."""
        return [
            int(self.result_ttl_s * 1000),
            int(self.dead_ttl_s * 1000),
            int(self.max_queue_age_s * 1000),
            _error("canceled", "The job was canceled."),
            _error("expired", "The job was not started before its deadline or its oldest age."),
            _error(
                "poisoned",
                f"The engine died {self.max_crashes} times with this job, the last time while it "
                "ran alone. Look at the input, then at the model.",
            ),
            self.max_crashes,
        ]
