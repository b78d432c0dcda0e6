"""One Redis, an API and four workers, and the checks after each step."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import SimpleNamespace
from typing import ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant

from jobs import scripts
from jobs.errors import QueueUnavailable
from jobs.job import NewJob
from jobs.queue import JobQueue
from jobs.submission import entry_for

from .accounts import Account
from .books import DAY
from .draws import JOBS, MODEL, VERSIONS, options
from .ending import come_to_rest
from .fleet import Held, Numbered, Worker, driven
from .link import Link
from .senders import Sender, tell_in_time
from .wire import Wire


class World(RuleBasedStateMachine):
    """One Redis, an API, four workers; after each step the books must agree."""

    wire: ClassVar[Wire]
    #: The connection on which a process hears of jobs that it waits for.
    ear: ClassVar[Wire]
    steps = 0
    #: All is compared each so many steps; what a step touched, always.
    whole_each = 5

    @initialize(
        shards=st.sampled_from([(17,), (17,), (17,), (17, 114)]),
        crashes=st.sampled_from([3, 2, 1]),
        survive=st.booleans(),
        jobs=st.lists(JOBS, max_size=8),
        at_work=st.booleans(),
    )
    def begin(
        self,
        shards: tuple[int, ...],
        crashes: int,
        survive: bool,
        jobs: list[NewJob],
        at_work: bool,
    ) -> None:
        """Start from nothing, or with workers at work."""
        self.wire.call("FLUSHALL")
        self.ear.gather()
        self.options = options(crashes)
        self.link = Link(self.wire, self.options, shards)
        self.shards = list(shards)
        self.survive = survive
        self.queue = JobQueue(self.link, self.options, process_id="api")
        self.queue.listing = SimpleNamespace(all_of_batch=_nothing)
        self.ids: list[tuple[str, str]] = []
        #: Outcomes that a client has seen.
        self.seen: dict[Account, tuple[object, ...]] = {}
        self.now = 1_700_000_000_000
        self.link.set_clock(self.now)
        Numbered.lives = 0
        Sender.tries = 0
        self.senders = [Sender(name, self.link, self.options) for name in ("s0", "s1")]
        self.workers = [self.new_worker(f"w{n}", version) for n, version in enumerate(VERSIONS)]
        self.commit(jobs, "", "", "")
        for worker in self.workers:
            worker.register()
            if at_work:
                worker.claim(2, start=True, steal=False)

    def commit(self, jobs: list[NewJob], watch: str, fate: str, again: str) -> None:
        """Submit jobs in one call for each shard."""
        entries = [(entry_for(job, self.shards, watch), job) for job in jobs]
        self.ids += [(entry.id, job.tenant) for entry, job in entries]
        for shard in self.shards:
            mine = [each for each in entries if each[0].shard == shard]
            self.link.items = [job for _, job in mine]
            with self.fate(fate, again):
                if mine:
                    driven(self.queue._commit(shard, [entry for entry, _ in mine]))

    def new_worker(self, name: str, version: str) -> Worker:
        """Return a worker's process that has just begun."""
        queue = Numbered(
            self.link, self.options, model=MODEL, version=version, shards=self.shards, worker=name
        )
        worker = Worker(queue, self.link)
        self.link.processes.append(worker)
        return worker

    @contextmanager
    def fate(self, *fates: str) -> Iterator[None]:
        """Let calls be lost; the caller knows no more than that."""
        self.link.fates = list(fates)
        try:
            yield
        except QueueUnavailable:
            pass
        finally:
            self.link.fates = []

    def awake(self, who: int) -> Worker | None:
        """Return a worker that can act, the one asked for if it can."""
        order = self.workers[who:] + self.workers[:who]
        return next((each for each in order if not each.frozen and each.registered), None)

    def keeper(self, who: int) -> Worker | None:
        """Return a worker that can act and holds something, the one asked for if it does."""
        order = self.workers[who:] + self.workers[:who]
        able = [each for each in order if not each.frozen and each.registered]
        return next((each for each in able if each.held or each.coming), None)

    def chosen(self, worker: Worker, which: int) -> list[Held]:
        """Choose some of what a worker believes to hold, the first of it for an even number."""
        held = list(worker.held.values())
        return [each for at, each in enumerate(held) if which >> at % 8 & 1] or held[:1]

    def on_all(self, script: scripts.Script, *given: int | str) -> list[object]:
        """Run a script on each shard."""
        args = [*self.options.policy, *given]
        return [driven(self.link.run(script, shard, args)) for shard in self.shards]

    def on_one(self, shard: int, script: scripts.Script, *given: str) -> None:
        """Run a script on one shard."""
        driven(self.link.run(script, shard, [*self.options.policy, *given]))

    def look(self, *, watch: bool) -> None:
        """Read jobs as a client does; an outcome once seen is never another."""
        ids = [each for each, _ in self.ids[-40:]]
        found = driven(self.queue._look(ids) if watch else self.queue.read(ids))
        books = self.link.shards.values()
        for identifier, job in zip(ids, found, strict=True):
            if job is not None and job.final:
                outcome = (job.status, job.output, job.error, job.finished_at)
                # A late packet may submit a job anew that was erased: then it is another one.
                [account] = [b.jobs[identifier] for b in books if identifier in b.jobs]
                before = self.seen.setdefault(account, outcome)
                assert before == outcome, (identifier, before, outcome)

    def set_clock(self, now: int) -> None:
        """Let it be this time."""
        tell_in_time(self, now)
        self.now = now
        self.link.set_clock(now)

    def pass_time(self, step: int) -> None:
        """Let time pass, but for the month after which nobody is told any more."""
        books = self.link.shards.values()
        ends = [each.until for b in books for each in b.gone.values()]
        calls = [call for b in books for call in b.deliveries.values() if call.place]
        ends += [call.until for call in calls if call.until is not None]
        if self.now + step + 10 * DAY < min(ends, default=1 << 60):
            self.set_clock(self.now + step)

    @invariant()
    def books_agree(self) -> None:
        """Compare what the step touched, and all of it from time to time."""
        self.steps += 1
        for comparer in self.link.comparers.values():
            comparer.check_touched()
            if self.steps % self.whole_each == 0:
                comparer.check_all()

    def teardown(self) -> None:
        """Let everything come to its end."""
        # After a step that failed it would fail again, and hide why.
        if sys.exc_info()[0] is None:
            come_to_rest(self)


async def _nothing(*_: object) -> list[object]:
    return []
