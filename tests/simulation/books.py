"""What should be in one shard: an account of it in plain Python, kept beside the real one."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, field

from jobs.job import NewJob
from jobs.policy import QueueOptions
from jobs.states import FINAL, TRANSITIONS, Priority, Status

RANK = {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 2}
#: Newest attempts that are kept of a job.
TRIES = 20


@dataclass(eq=False)
class Account:
    """One job as it should be; times in milliseconds of the controlled clock."""

    id: str
    job: NewJob
    created: int
    batch: str = ""
    digest: str = ""
    status: Status = Status.QUEUED
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
    #: (life, attempt, reason, charged) of each attempt that ended in anything but success.
    tries: list[tuple[str, int, str, bool]] = field(default_factory=list)

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
        return f"{self.job.model}@{self.job.version}"

    @property
    def lane(self) -> str:
        """The lane it waits in when it is new."""
        return f"{self.target}:{self.job.priority}:{self.job.tenant}"

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
            "version": self.job.version,
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
    finished: int | None = None


class Books:
    """The state of one shard, and every change that may happen to it."""

    def __init__(self, options: QueueOptions) -> None:
        self.options = options
        self.now = 0
        self.jobs: dict[str, Account] = {}
        self.lanes: dict[str, list[str]] = defaultdict(list)
        self.returned: dict[str, list[str]] = defaultdict(list)
        #: life -> job -> token, in the order in which Redis keeps them.
        self.held: dict[str, dict[str, str]] = defaultdict(dict)
        #: life -> name and model version.
        self.lives: dict[str, tuple[str, str]] = {}
        self.beats: dict[str, int] = {}
        self.idem: dict[str, tuple[str, str]] = {}
        self.batches: dict[str, BatchAccount] = {}
        self.due: dict[str, int] = {}
        self.tokens: set[str] = set()
        #: What waiting processes, idle workers and the sender of webhooks must have been told.
        self.woken: list[tuple[str, str]] = []
        self.events: list[tuple[str, str]] = []
        self.rings = 0
        #: Jobs whose record may have changed since this was last cleared.
        self.touched: set[str] = set()
        self.changes = 0

    # What a job goes through -----------------------------------------------------------------

    def enter(self, account: Account) -> None:
        """Let a new job wait in its lane."""
        self.jobs[account.id] = account
        self.lanes[account.lane].append(account.id)
        self.due[account.id] = self.expiry(account)
        if account.digest:
            self.idem[account.digest] = (account.id, account.job.fingerprint)
        self.touch(account)

    def touch(self, account: Account) -> None:
        """Note a change."""
        self.touched.add(account.id)
        self.changes += 1

    def expiry(self, account: Account) -> int:
        """Return when a queued job ends by itself."""
        oldest = account.created + int(self.options.max_queue_age_s * 1000)
        return oldest if account.deadline is None else min(oldest, account.deadline)

    def become(self, account: Account, status: Status) -> None:
        """Change a job's state, if the table of transitions allows it."""
        before = account.status
        assert status in TRANSITIONS[before], f"{account.id}: {before} -> {status}"
        account.status = status
        if account.batch:
            counts = self.batches[account.batch].counts
            counts[before] -= 1
            counts[status] += 1
        self.touch(account)

    def leave_place(self, account: Account) -> None:
        """Take a job out of wherever it waits."""
        if account.place == "lane":
            self.lanes[account.lane].remove(account.id)
        elif account.place == "returned":
            self.returned[account.target].remove(account.id)
        elif account.place == "held":
            self.held[account.worker].pop(account.id, None)
        account.place = ""
        self.touch(account)

    def hold(self, account: Account, life: str, token: str) -> None:
        """Give a job into the hands of a life."""
        self.leave_place(account)
        account.place, account.worker, account.token = "held", life, token
        self.held[life][account.id] = token

    def begin(self, account: Account, size: int) -> None:
        """Start a held job."""
        assert account.place == "held"
        assert not account.late(self.now), f"{account.id} began after its deadline"
        self.become(account, Status.RUNNING)
        account.started, account.attempt = self.now, account.retries + 1
        account.batch_size = size
        self.due.pop(account.id)

    def finish(self, account: Account, status: Status, payload: bytes) -> None:
        """End a job, once and for ever."""
        self.leave_place(account)
        self.become(account, status)
        ttl = self.options.dead_ttl_s if status == Status.FAILED else self.options.result_ttl_s
        account.finished, account.retained = self.now, self.now + int(ttl * 1000)
        watching, account.watch = account.watch.split(), ""
        account.output, account.not_before = payload, None
        self.due[account.id] = account.retained
        self.woken += [(channel, account.id) for channel in watching]
        if account.job.webhook is not None:
            self.events.append((f"job.{status}", account.id))
        if account.batch:
            batch = self.batches[account.batch]
            if not any(not self.jobs[each].final for each in batch.members):
                batch.finished = self.now

    def end(self, account: Account, status: Status) -> None:
        """End a job with the error that the policy has for this state."""
        policy = self.options.policy
        payload = policy[{Status.CANCELED: 3, Status.EXPIRED: 4, Status.FAILED: 5}[status]]
        assert isinstance(payload, bytes)
        self.finish(account, status, payload)

    def note_try(self, account: Account, reason: str, *, charged: bool = False) -> None:
        """Keep how an attempt ended."""
        began = account.status != Status.QUEUED
        attempt = account.attempt if began else account.retries + 1
        account.tries.append((account.worker, attempt, reason, charged))
        del account.tries[:-TRIES]

    def to_line(self, account: Account) -> None:
        """Put a job before all new ones of its priority."""
        self.leave_place(account)
        account.place, account.worker, account.not_before = "returned", "", None
        account.progress = None
        if account.status != Status.QUEUED:
            self.become(account, Status.QUEUED)
        self.returned[account.target].append(account.id)
        self.due[account.id] = self.expiry(account)

    def delay(self, account: Account, backoff_ms: int) -> None:
        """Let a job wait until it is tried again."""
        self.leave_place(account)
        account.place, account.worker, account.progress = "backoff", "", None
        account.not_before, account.retries = self.now + backoff_ms, account.retries + 1
        if account.status != Status.QUEUED:
            self.become(account, Status.QUEUED)
        self.due[account.id] = min(account.not_before, self.expiry(account))

    def give_back(self, account: Account, reason: str, *, charge: bool, alone: bool) -> str:
        """Take a job out of a worker's hands: what ran may be charged, and alone convicted."""
        if account.status == Status.CANCELING:
            self.end(account, Status.CANCELED)
            return "canceled"
        if account.status == Status.RUNNING:
            self.note_try(account, reason, charged=charge)
            account.crashes += charge
            if charge and alone and account.crashes >= self.options.max_crashes:
                self.end(account, Status.FAILED)
                return "poisoned"
        self.to_line(account)
        return "ok"

    def erase(self, account: Account) -> None:
        """Forget a job that has ended, and its batch with its last job."""
        assert account.final
        del self.jobs[account.id], self.due[account.id]
        if account.digest:
            del self.idem[account.digest]
        if account.batch:
            batch = self.batches[account.batch]
            batch.members.discard(account.id)
            if not batch.members:
                if batch.digest:
                    del self.idem[batch.digest]
                del self.batches[account.batch]
        self.touch(account)

    def line(self, target: str) -> list[Account]:
        """Return the jobs to run again, in the order in which they must be claimed."""
        jobs = [self.jobs[each] for each in self.returned[target]]
        return sorted(jobs, key=lambda a: (RANK[a.job.priority], a.created, a.id))

    def queued(self, model: str) -> int:
        """Return how many jobs of a model wait."""
        mine = (a for a in self.jobs.values() if a.job.model == model)
        return sum(account.status == Status.QUEUED for account in mine)
