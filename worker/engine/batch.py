"""A job in the engine's hands, and a batch of them."""

from dataclasses import dataclass, field
from typing import Any

from worker.wire import EngineJob


@dataclass(slots=True, eq=False)
class HeldJob:
    """One job from the feeder's frame until its outcome is sent."""

    job: EngineJob
    #: monotonic seconds
    arrived: float
    #: the order of turns: when it arrived, plus what its priority can wait
    due: float
    prepared: Any = None
    cost: float = 1.0
    #: cost rounded up to the model's bucket: what it is padded to when it runs alone
    shape: float = 1.0
    #: why it cannot run
    refusal: dict[str, Any] | None = None
    canceled: bool = False
    dropped: bool = False

    @property
    def id(self) -> str:
        return self.job.id

    @property
    def feed(self) -> int:
        return self.job.feed


@dataclass(slots=True, eq=False)
class Batch:
    """Jobs that go to the device together."""

    number: int
    jobs: list[HeldJob]
    expected_s: float
    #: monotonic seconds; None until then
    asked_at: float | None = None
    began_at: float | None = None
    #: jobs whose outcome is not sent yet
    left: int = field(init=False)

    def __post_init__(self) -> None:
        self.left = len(self.jobs)

    def keep(self, jobs: list[HeldJob]) -> None:
        """Only these are left of it."""
        self.jobs = jobs
        self.left = len(jobs)

    @property
    def feeds(self) -> list[int]:
        return [each.job.feed for each in self.jobs]

    @property
    def padded(self) -> float:
        """What the device computes: every job as long as the longest."""
        return len(self.jobs) * max(each.shape for each in self.jobs)
