"""What a worker has learned of its model's speed."""

from collections import deque
from dataclasses import dataclass, field

#: weight of the newest batch; about the last ten decide
NEWEST = 0.2


def smooth(old: float | None, new: float) -> float:
    """The moving average after one more value."""
    return new if old is None else old + NEWEST * (new - old)


@dataclass(slots=True)
class Timing:
    """Moving averages of one model on one device; times in seconds."""

    #: time the engine takes out of the queue for one job, all overheads included
    seconds_per_job: float | None = None
    #: time of a batch on the GPU, by the number of bits of its size
    batch_s: dict[int, float] = field(default_factory=dict)
    load_s: float | None = None
    #: mean size of the results: what is kept free for each job that waits
    result_bytes: float | None = None
    _results: int = 0
    _last_end: float = 0.0

    def loaded(self, load_s: float) -> None:
        """Note how long a load took, which is what killing an engine costs."""
        self.load_s = smooth(self.load_s, load_s)

    def ended(self, size: int, run_s: float, fed_at: float, now: float) -> None:
        """Note a batch; its jobs had been at the engine since `fed_at`."""
        if size < 1:
            return
        bits = size.bit_length()
        self.batch_s[bits] = smooth(self.batch_s.get(bits), run_s)
        # From the end of the batch before, not from its own begin: the gap between two batches
        # of a busy engine is time that the queue pays as well.
        busy_s = max(run_s, now - max(self._last_end, fed_at))
        self._last_end = now
        self.seconds_per_job = smooth(self.seconds_per_job, busy_s / size)

    def stored(self, size: int) -> None:
        """Note the size of a result; about the last hundred decide."""
        self._results = min(self._results + 1, 100)
        old = self.result_bytes or 0.0
        self.result_bytes = old + (size - old) / self._results

    def expected_s(self, size: int) -> float | None:
        """How long a batch of this size should take: as one of the nearest size known."""
        if not self.batch_s:
            return None
        bits = size.bit_length()
        return self.batch_s[min(self.batch_s, key=lambda known: abs(known - bits))]


def rest_s(expected_s: float | None, elapsed_s: float) -> float:
    """How much longer a batch may take.

    One that is overdue, or about which nothing is known, is given as long again as it has run:
    so waiting for it never costs more than twice what killing it at the best moment would.
    """
    if expected_s is not None and elapsed_s < expected_s:
        return expected_s - elapsed_s
    return elapsed_s


class BusyShare:
    """In which share of the last minute a batch ran."""

    WINDOW_S = 60

    def __init__(self, now: float) -> None:
        self._since = now
        #: [second, seconds run in batches that ended in it]: bounded, however short batches are
        self._seconds: deque[list[float]] = deque()

    def ran(self, run_s: float, now: float) -> None:
        """Note a batch that just ended."""
        second = float(int(now))
        if self._seconds and self._seconds[-1][0] == second:
            self._seconds[-1][1] += run_s
        else:
            self._seconds.append([second, run_s])
            self._forget(now)

    def ratio(self, now: float) -> float:
        """The share, 0 to 1."""
        self._forget(now)
        window_s = min(max(now - self._since, 1e-3), self.WINDOW_S)
        return min(sum(run_s for _, run_s in self._seconds) / window_s, 1.0)

    def _forget(self, now: float) -> None:
        while self._seconds and now - self._seconds[0][0] > self.WINDOW_S:
            self._seconds.popleft()
