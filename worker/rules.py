"""The numbers that decide over jobs: from the settings, and from the loaded model."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Rules:
    """The settings and limits that decide over jobs; durations in seconds."""

    max_attempts: int
    max_result_bytes: int
    cancel_grace_s: float
    beat_limit_s: float
    drain_s: float
    pinned_only: bool = False


@dataclass(slots=True, kw_only=True)
class ModelLimits:
    """What the loaded model said of itself."""

    max_batch: int = 1
    by_cost: bool = False
    timeout_s: float = 300.0
    retry_backoff_s: float = 5.0
