"""When a delivery is tried again: the delays, their jitter, and what the receiver asks for."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC
from email.utils import parsedate_to_datetime

#: Seconds before each try, from the end of the one before.
DELAYS_S = (0, 5, 300, 1800, 7200, 18000, 36000, 50400, 72000, 86400)
#: Receivers that fail together shall not be tried again together.
JITTER = 0.2
#: A receiver that wants to be left alone for longer is asked again all the same.
LONGEST_RETRY_AFTER_S = 3600.0
#: The statuses whose Retry-After is heard.
SLOW_DOWN = (429, 503)


@dataclass(frozen=True, slots=True)
class Schedule:
    """The delays between tries; `scale` is a factor of all of them."""

    scale: float = 1.0
    #: Gives numbers from 0 up to 1.
    draw: Callable[[], float] = random.random

    def after(self, tries: int, retry_after_s: float | None = None) -> float | None:
        """Return seconds until the next try once `tries` have failed; None after the last one."""
        if tries >= len(DELAYS_S):
            return None
        delay = DELAYS_S[tries] * (1 - JITTER + 2 * JITTER * self.draw())
        return max(delay, retry_after_s or 0.0) * self.scale


def retry_after_s(status: int, value: str | None, now: float) -> float | None:
    """Return the seconds that a Retry-After asks for, an hour at most; None where it says none.

    `now` is the Unix time: the header may name a date.
    """
    if status not in SLOW_DOWN or value is None:
        return None
    text = value.strip()
    if text.isascii() and text.isdigit():
        # More digits than any time has would not fit a float.
        asked = float(text[:12])
    else:
        try:
            date = parsedate_to_datetime(text)
        except (ValueError, OverflowError):
            # A year or an hour of more digits than any time has overflows.
            return None
        asked = (date if date.tzinfo else date.replace(tzinfo=UTC)).timestamp() - now
    return min(max(0.0, asked), LONGEST_RETRY_AFTER_S)
