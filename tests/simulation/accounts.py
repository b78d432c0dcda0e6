"""What should be of one job, batch, event or delivery."""

from __future__ import annotations

from dataclasses import dataclass, field

from jobs.job import NewJob
from jobs.states import FINAL, Status
from jobs.webhook import wanted_events


@dataclass(eq=False)
class Account:
    """One job as it should be; times in milliseconds of the controlled clock."""

    id: str
    job: NewJob
    created: int
    batch: str = ""
    digest: str = ""
    status: Status = Status.QUEUED
    #: The one that runs it: what was not pinned may follow to another.
    version: str = ""
    #: lane, returned, held, backoff, or nowhere.
    place: str = "lane"
    worker: str = ""
    token: str = ""
    retries: int = 0
    crashes: int = 0
    #: Workers that were lost with it in their hands, before it had begun.
    vanished: int = 0
    attempt: int = 0
    batch_size: int = 0
    alone: bool | None = None
    started: int | None = None
    not_before: int | None = None
    finished: int | None = None
    retained: int | None = None
    output: bytes | None = None
    progress: bytes | None = None
    watch: str = ""
    #: Which events its webhook wants, as its record says it.
    wanted: str = ""
    #: Events that there have been, and of them those that no sender has taken.
    seq: int = 0
    untold: int = 0
    told_at: int | None = None
    #: (life, attempt, reason, charged) of each attempt that ended in anything but success.
    tries: list[tuple[str, int, str, bool]] = field(default_factory=list)

    def __post_init__(self) -> None:
        """Take its version, and what its webhook wants, from the job."""
        self.version = self.job.version
        self.wanted = wanted_events(self.job.webhook)

    @property
    def deadline(self) -> int | None:
        """When it must have started."""
        wanted = self.job.deadline_s
        return None if wanted is None else self.created + int(wanted * 1000)

    @property
    def final(self) -> bool:
        """Whether it has ended."""
        return self.status in FINAL

    @property
    def target(self) -> str:
        """The model version that runs it."""
        return f"{self.job.model}@{self.version}"

    @property
    def lane(self) -> str:
        """The lane it waits in when it is new."""
        kind = "pins" if self.job.pinned else "lane"
        return f"{kind}:{self.target}:{self.job.priority}:{self.job.tenant}"

    @property
    def suspect(self) -> bool:
        """Whether it must run alone: it ran in a death, or was near two."""
        return self.crashes > 0 or self.vanished >= 2

    def late(self, now: int) -> bool:
        """Whether its deadline has passed."""
        return self.deadline is not None and self.deadline <= now

    def record(self) -> dict[str, str]:
        """Return its record in Redis, but for the place in a lane."""
        known = {
            "status": self.status,
            "model": self.job.model,
            "version": self.version,
            "pinned": "1" if self.job.pinned else None,
            "tenant": self.job.tenant,
            "priority": self.job.priority,
            "timeout_s": repr(self.job.timeout_s),
            "created_at": self.created,
            "deadline_at": self.deadline,
            "batch": self.batch,
            "idem": self.digest,
            "worker": self.worker,
            "token": self.token,
            "retries": self.retries or None,
            "crashes": self.crashes or None,
            "vanished": self.vanished or None,
            "attempt": self.attempt or None,
            "batch_size": self.batch_size or None,
            "alone": None if self.alone is None else int(self.alone),
            "started_at": self.started,
            "not_before": self.not_before,
            "finished_at": self.finished,
            "retained_until": self.retained,
            "watch": self.watch,
            "webhook": self.wanted,
            "seq": self.seq or None,
            "untold": self.untold if self.seq else None,
            "told_at": self.told_at,
        }
        return {name: str(value) for name, value in known.items() if value not in (None, "")}


@dataclass(eq=False)
class BatchAccount:
    """One batch as it should be."""

    total: int
    created: int
    digest: str
    members: set[str]
    counts: dict[Status, int]
    #: Where it wants to be told of its end, and whether it is still to be.
    webhook: bytes = b""
    untold: int = 0
    finished: int | None = None


@dataclass(eq=False)
class Event:
    """Something that a webhook is to be told of."""

    type: str
    owner: str
    seq: int
    at: int
    #: The call that it happened in: within one the order is Redis's own.
    number: int
    #: Where it stands in the outbox, once a sender has seen it.
    entry: str = ""
    #: The id of its delivery, or `forgotten`; empty while it waits.
    became: str = ""


@dataclass(eq=False)
class Gone:
    """What is left of a job or batch that was erased before its events were told."""

    untold: int
    until: int
    extra: bytes = b""


@dataclass(eq=False)
class Call:
    """A delivery as it should be."""

    id: str
    owner: str
    tenant: str
    type: str
    endpoint: str
    body: bytes
    created: int
    #: None while nobody was told of it.
    token: str | None
    status: str = "pending"
    tries: int = 0
    #: calls, retry, or nowhere; since or until when it stands there.
    place: str = ""
    at: int = 0
    next_at: int | None = None
    until: int | None = None
    log: list[bytes] = field(default_factory=list)
    log_until: int | None = None


@dataclass(eq=False)
class Listed:
    """The deliveries of a job or batch, by the time at which they were made."""

    made: dict[str, int] = field(default_factory=dict)
    until: int | None = None


@dataclass(eq=False)
class Failing:
    """An endpoint that fails."""

    since: int
    until: int
    #: When it was disabled, and why.
    disabled: tuple[int, str] | None = None
