"""The numbers of a model that say how its jobs are batched and for how long they may run."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """A model's batching limits and time limits, with the defaults of the contract."""

    max_batch: int = 1
    max_wait_ms: float = 0
    max_cost: float | None = None
    buckets: tuple[float, ...] | None = None
    timeout_s: float = 300
    retry_backoff_s: float = 5

    def as_dict(self) -> dict[str, Any]:
        """The limits as JSON values."""
        return {
            "max_batch": self.max_batch,
            "max_wait_ms": self.max_wait_ms,
            "max_cost": self.max_cost,
            "buckets": None if self.buckets is None else list(self.buckets),
            "timeout_s": self.timeout_s,
            "retry_backoff_s": self.retry_backoff_s,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Limits":
        """The limits out of JSON values; a missing one has its default."""
        known = {name: values[name] for name in cls.__dataclass_fields__ if name in values}
        if known.get("buckets") is not None:
            known["buckets"] = tuple(known["buckets"])
        return cls(**known)
