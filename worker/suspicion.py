"""Whether the device has to prove that it computes before another engine loads onto it."""

import time
from collections import deque
from collections.abc import Callable

from worker.aftermath import Death

#: deaths within a window that may be the device's, until it is tested
MOST_DEATHS = 2
WINDOW_S = 600.0
#: seconds that a self-test may take, the start of the driver included
TEST_LIMIT_S = 60.0
#: of an engine that never came to use the device
NOT_THE_DEVICE = frozenset({"load_failed", "self_test"})


class Suspicion:
    """Counts engines that died and were not told to."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._deaths: deque[float] = deque(maxlen=MOST_DEATHS)
        self._failed = False

    def died(self, death: Death) -> None:
        """Note how an engine ended."""
        if not death.ordered and death.exit_code != 0 and death.reason not in NOT_THE_DEVICE:
            self._deaths.append(self._clock())

    def tested(self, *, passed: bool) -> None:
        """Note how a self-test ended."""
        self._failed = not passed

    @property
    def test_first(self) -> bool:
        """Whether the next engine tests the device before it loads."""
        recent = [at for at in self._deaths if self._clock() - at <= WINDOW_S]
        return self._failed or len(recent) >= MOST_DEATHS
