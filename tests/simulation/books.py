"""What should be in one shard: an account of it in plain Python, kept beside the real one."""

from __future__ import annotations

from collections import defaultdict

from jobs.policy import QueueOptions
from jobs.states import FINAL, TRANSITIONS, Priority, Status

from .accounts import Account, BatchAccount, Call, Event, Failing, Gone, Listed

DAY = 86_400_000
RANK = {Priority.HIGH: 0, Priority.NORMAL: 1, Priority.LOW: 2}
#: Newest attempts that are kept of a job.
TRIES = 20


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
        #: Lives that have said that they are ready.
        self.ready: set[str] = set()
        self.idem: dict[str, tuple[str, str]] = {}
        self.batches: dict[str, BatchAccount] = {}
        self.due: dict[str, int] = {}
        self.tokens: set[str] = set()
        #: What waiting processes, idle workers and the sender of webhooks must have been told.
        self.woken: list[tuple[str, str]] = []
        #: Events that wait for a sender, and all that ever were.
        self.outbox: list[Event] = []
        self.events: list[Event] = []
        self.gone: dict[str, Gone] = {}
        self.deliveries: dict[str, Call] = {}
        self.listed: dict[str, Listed] = {}
        self.failing: dict[str, Failing] = {}
        #: Sets that are cleaned now and then: member -> time.
        self.failed_at: dict[str, int] = {}
        self.undelivered: dict[str, int] = {}
        self.sender_rings = 0
        #: Calls until now.
        self.number = 0
        self.rings = 0
        #: Jobs, and deliveries, whose record may have changed since this was last cleared.
        self.touched: set[str] = set()
        self.called: set[str] = set()
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
        self.tell(account, "started")

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
        self.tell(account, status)
        if account.batch:
            batch = self.batches[account.batch]
            if not any(not self.jobs[each].final for each in batch.members):
                batch.finished = self.now
                if batch.webhook:
                    batch.untold += 1
                    self._happened("batch.finished", account.batch, 1)

    def tell(self, account: Account, event: str) -> None:
        """Note an event for a job's webhook, if it asks for it."""
        asked = FINAL if account.wanted == "1" else account.wanted.split()
        if event in asked:
            account.seq += 1
            account.untold += 1
            self.touch(account)
            self._happened(f"job.{event}", account.id, account.seq)

    def _happened(self, kind: str, owner: str, seq: int) -> None:
        event = Event(kind, owner, seq, self.now, self.number)
        self.outbox.append(event)
        self.events.append(event)

    def end(self, account: Account, status: Status) -> None:
        """End a job with the error that the policy has for this state."""
        policy = self.options.policy
        payload = policy[{Status.CANCELED: 3, Status.EXPIRED: 4, Status.FAILED: 5}[status]]
        assert isinstance(payload, bytes)
        self.finish(account, status, payload)

    def was_told(self, owner: str) -> None:
        """One event of a job or batch less is to be told; of one that is gone the last ends it."""
        if account := self.jobs.get(owner):
            account.untold -= 1
            self.touch(account)
        elif owner in self.batches:
            self.batches[owner].untold -= 1
        elif owner in self.gone:
            self.gone[owner].untold -= 1
            if self.gone[owner].untold <= 0:
                del self.gone[owner]

    def keep(self, owner: str, at: int) -> None:
        """Keep a job, or those of a batch, for the links in what was told."""
        batch = self.batches.get(owner)
        for identifier in batch.members if batch else (owner,):
            account = self.jobs.get(identifier)
            if account and account.retained is not None and account.retained < at:
                account.retained = self.due[identifier] = at
                self.touch(account)

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
        until = self.now + 30 * DAY
        if account.untold > 0:
            self.gone[account.id] = Gone(account.untold, until, account.job.extra())
        if account.digest:
            del self.idem[account.digest]
        if account.batch:
            batch = self.batches[account.batch]
            batch.members.discard(account.id)
            if not batch.members:
                if batch.digest:
                    del self.idem[batch.digest]
                if batch.untold > 0:
                    self.gone[account.batch] = Gone(batch.untold, until)
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
