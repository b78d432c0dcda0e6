"""How long to wait before the next try."""

from dataclasses import dataclass

from jobs.errors import NotDurable, QueueFull, QueueUnavailable

#: what Redis may be asked again after; every other error is a fault of ours, or of its settings
TRANSIENT = (QueueUnavailable, NotDurable, QueueFull)


@dataclass(slots=True)
class Backoff:
    """Doubles from `first_s` to `most_s`; a success begins anew."""

    first_s: float
    most_s: float
    #: failures in a row that are tried again at once
    free: int = 0
    failures: int = 0

    def next_s(self) -> float:
        """Seconds to wait after one more failure."""
        self.failures += 1
        paid = self.failures - self.free
        if paid <= 0:
            return 0.0
        return min(self.first_s * 2.0 ** min(paid - 1, 30), self.most_s)

    def reset(self) -> None:
        """Forget all failures."""
        self.failures = 0
