"""Batches on their way: formed, asked for, on the device.

The next batch is asked for shortly before the device is free, as late as the feeder's learned
answer time allows: the later, the more jobs there are to choose from, and the truer is the
moment that the world is told a job is running.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from itertools import count

from worker.engine.batch import Batch, HeldJob
from worker.engine.batcher import NEVER, Batcher
from worker.engine.outbox import Sender
from worker.engine.timing import AnswerTime, BatchTime
from worker.wire import Formed

#: batches on the device and behind it: whoever is behind is called running a little too early, and
#: one that is there when the device is free is all that it needs
MOST_AHEAD = 2


class Pipeline:
    """On the mailbox's thread; batches leave it through `launch` to the device's thread."""

    def __init__(
        self,
        batcher: Batcher,
        time: BatchTime,
        sender: Sender,
        launch: Callable[[Batch], None],
    ) -> None:
        self.batcher = batcher
        self._time = time
        self._sender = sender
        self._launch = launch
        self._answer = AnswerTime()
        self._numbers = count(1)
        self._asked: dict[int, Batch] = {}
        self._flight: deque[Batch] = deque()

    @property
    def flying(self) -> bool:
        """Whether the device has anything to do."""
        return bool(self._flight)

    def is_flying(self, job: HeldJob) -> bool:
        """Whether the job is on the device, or sure to come there."""
        return any(job in batch.jobs for batch in self._flight)

    def run_started(self, jobs: Iterable[HeldJob]) -> None:
        """Jobs that are running for the world already: to the device at once."""
        for chosen in self.batcher.split(jobs):
            self._fly(self._batch_of(chosen))

    def go(self, number: int, feeds: Sequence[int], now: float) -> list[HeldJob]:
        """These of a batch may run; returns the others, which are forgotten."""
        batch = self._asked.pop(number, None)
        if batch is None:
            return []
        if batch.asked_at is not None:
            self._answer.learn(now - batch.asked_at)
        allowed = set(feeds)
        runs = [each for each in batch.jobs if each.feed in allowed and not each.dropped]
        dropped = [each for each in batch.jobs if each.feed not in allowed or each.dropped]
        if runs:
            if dropped:
                batch.keep(runs)
                batch.expected_s = self._time.estimate(batch.padded)
            self._fly(batch)
        return dropped

    def ended(self, batch: Batch, seconds: float | None) -> None:
        """The device has let go of a batch; the seconds are None where it ran in pieces."""
        self._flight.remove(batch)
        if seconds is not None:
            self._time.learn(batch.padded, seconds)

    def forget_unstarted(self) -> None:
        """The feeder wants back what has not been started."""
        self.batcher.clear()
        self._asked.clear()

    def step(self, now: float, *, expecting: bool) -> float:
        """Form what should be formed; returns when to come again at the latest."""
        formed: list[Batch] = []
        until = NEVER
        while len(self.batcher) and len(self._asked) + len(self._flight) < MOST_AHEAD:
            # A part-full batch can still grow while another waits for its answer.
            if self._asked and not self.batcher.full:
                break
            # A start that is asked for too early makes a job `running` that waits: it could not
            # expire any more, nor be canceled at once. The end of the batch asks again.
            if not self._end_is_known(now):
                break
            until = max(
                self.batcher.ready_at(now, expecting=expecting),
                now + self._busy_s(now) - self._answer.lead_s,
            )
            if until > now:
                break
            batch = self._batch_of(self.batcher.take())
            batch.asked_at = now
            self._asked[batch.number] = batch
            formed.append(batch)
            until = NEVER
        if formed:
            self._sender.send(*(Formed(each.number, each.feeds) for each in formed))
        return until

    def _batch_of(self, jobs: list[HeldJob]) -> Batch:
        batch = Batch(next(self._numbers), jobs, 0.0)
        batch.expected_s = self._time.estimate(batch.padded)
        return batch

    def _fly(self, batch: Batch) -> None:
        self._flight.append(batch)
        self._launch(batch)

    def _end_is_known(self, now: float) -> bool:
        if not self._flight and not self._asked:
            return True
        if not self._time.trusted:
            return False
        head = self._flight[0] if self._flight else None
        if head is None or head.began_at is None:
            return True
        return not self._time.overdue(head.expected_s, now - head.began_at)

    def _busy_s(self, now: float) -> float:
        """Seconds for which the device is expected to have work already."""
        busy = sum(each.expected_s for each in self._asked.values())
        for batch in self._flight:
            ran = now - batch.began_at if batch.began_at is not None else 0.0
            busy += max(0.0, batch.expected_s - ran)
        return busy
