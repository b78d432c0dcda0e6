"""Whether the loops of a process still go round: each says so itself, whoever asks is a thread."""

from __future__ import annotations

import time

#: Longer than any round that ends: RQ waits for a job for 40 s where Redis froze, and a job of ours
#: has 60 s.
STALLED_S = 120.0


class Pulse:
    """When each loop last came round. One that has never begun is nobody's fault."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}

    def beat(self, loop: str) -> None:
        """Say that this loop has come round."""
        self._last[loop] = time.monotonic()

    def stalled(self) -> str | None:
        """Say which loop has not come round for too long; None where each has."""
        now = time.monotonic()
        for loop, last in self._last.copy().items():
            if now - last > STALLED_S:
                return f"{loop} has not gone round for {now - last:.0f} s"
        return None
