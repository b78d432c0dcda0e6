"""What the engine learns about time: of a batch, of an answer, of the next arrival."""


class BatchTime:
    """Seconds of a batch as `fixed + per_unit * padded cost`, fitted to the batches so far.

    How much of a batch is fixed decides how much padding a fuller batch is worth.
    """

    #: what one more batch takes off the weight of all before it
    FORGET = 0.98
    #: seconds; below this a batch's time is noise
    FLOOR = 1e-6
    #: of a batch's time, while all batches have had one size: fixed
    FIXED_SHARE = 0.2
    #: seconds, and share of the expected time, by which a batch may overrun without surprise
    SLACK_S = 0.1
    SLACK_SHARE = 0.5
    #: share of surprises among the last few batches from which no estimate is trusted
    MOST_SURPRISES = 0.3

    def __init__(self) -> None:
        self._weight = self._x = self._y = self._xx = self._xy = 0.0
        self.fixed = 0.0
        self.per_unit = 0.0
        # Nothing is trusted until some batches have come as expected.
        self._surprises = 1.0

    @property
    def known(self) -> bool:
        """Whether any batch was measured."""
        return self._weight > 0

    def estimate(self, padded: float) -> float:
        """Seconds that a batch of this padded cost should take."""
        return self.fixed + self.per_unit * padded

    def learn(self, padded: float, seconds: float) -> None:
        """Take one batch into account."""
        seconds = max(seconds, self.FLOOR)
        surprised = self.overdue(self.estimate(padded), seconds)
        self._surprises += 0.2 * (surprised - self._surprises)
        # By relative error: else the long batches alone would set the fixed part.
        weight = 1 / seconds**2
        keep = self.FORGET
        self._weight = keep * self._weight + weight
        self._x = keep * self._x + weight * padded
        self._y = keep * self._y + weight * seconds
        self._xx = keep * self._xx + weight * padded * padded
        self._xy = keep * self._xy + weight * padded * seconds
        self._fit()

    def _fit(self) -> None:
        x, y = self._x / self._weight, self._y / self._weight
        spread = self._xx / self._weight - x * x
        slope = 0.0
        if spread > 1e-4 * x * x:
            slope = (self._xy / self._weight - x * y) / spread
        elif x > 0:
            slope = (1 - self.FIXED_SHARE) * y / x
        # Noise must not make a batch free: neither its size nor its start.
        slope = min(max(slope, 0.0), 0.99 * y / x if x > 0 else 0.0)
        self.per_unit, self.fixed = slope, y - slope * x

    def overdue(self, expected_s: float, ran_s: float) -> bool:
        """Whether a batch has run for longer than noise explains."""
        return ran_s > expected_s + max(self.SLACK_S, self.SLACK_SHARE * expected_s)

    @property
    def trusted(self) -> bool:
        """Whether batches end about when they are expected to."""
        return self._surprises < self.MOST_SURPRISES


class AnswerTime:
    """How long the feeder takes to answer Formed with Go, as TCP learns its round trip."""

    LEAST_S = 0.004
    MOST_S = 0.1

    def __init__(self) -> None:
        self._mean = 0.02
        self._deviation = 0.01

    def learn(self, seconds: float) -> None:
        """Take one answer into account."""
        miss = seconds - self._mean
        self._mean += miss / 8
        self._deviation += (abs(miss) - self._deviation) / 4

    @property
    def lead_s(self) -> float:
        """How long before the device is free to ask for the next start."""
        return min(max(self._mean + 4 * self._deviation, self.LEAST_S), self.MOST_S)


class Arrivals:
    """Whether another job is likely to come soon, while one is held.

    Only the time during which a job is held counts: a lone client that sends its next job after
    the answer to the last must never be waited for.
    """

    FORGET = 0.9
    #: mean gaps without an arrival after which the stream has probably ended
    GAPS = 2.0

    def __init__(self) -> None:
        self._seconds = 0.0
        self._count = 0.0
        self._since: float | None = None

    def note(self, now: float, count: int, *, idle_since: float | None) -> None:
        """Jobs arrived, while others were in hand or since when none was."""
        if idle_since is None:
            self._seconds *= self.FORGET
            self._elapse(now)
            self._count = self._count * self.FORGET + count
        else:
            self._elapse(idle_since)
        self._since = now

    def idle(self, now: float) -> None:
        """Nothing is in hand any more."""
        self._elapse(now)
        self._since = None

    def expected_until(self, patience_s: float) -> float:
        """Until when another is likely enough to wait for; the past where none is."""
        if self._since is None or not self._count:
            return 0.0
        gap = self._seconds / self._count
        return self._since + self.GAPS * gap if gap <= patience_s else 0.0

    def _elapse(self, now: float) -> None:
        if self._since is not None:
            self._seconds += max(0.0, now - self._since)
            self._since = now
