"""Everything that may happen to jobs, in any order."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from jobs import scripts
from jobs.errors import IdempotencyConflict, NoSuchJob, NotCancelable, QueueFull
from jobs.following import Served
from jobs.job import NewJob
from jobs.states import Status

from .draws import (
    AFTER,
    BEAT_LIMIT_MS,
    CHANNEL,
    FATES,
    JOBS,
    KINDS,
    LIVES,
    MODEL,
    STALE,
    STEPS,
    VERSIONS,
    WHICH,
    WHO,
    WHYS,
    WRITES,
)
from .fleet import Worker, driven
from .sending import Sending, has_sent
from .world import World


def can_act(world: World) -> bool:
    """Some worker is awake and holds something."""
    return world.keeper(0) is not None


def has_given(world: World) -> bool:
    """Some job was claimed."""
    return bool(world.link.given)


class Machine(Sending):
    """What clients, workers, the network and the clock may do."""

    # Clients ---------------------------------------------------------------------------------

    @rule(jobs=st.lists(JOBS, min_size=1, max_size=4), watch=st.booleans(), fate=FATES, again=FATES)
    def submit(self, jobs: list[NewJob], watch: bool, fate: str, again: str) -> None:
        """Submit jobs in one call; the real caller repeats it once after a lost answer."""
        self.commit(jobs, CHANNEL if watch else "", fate, again)

    @rule(job=JOBS, count=st.integers(1, 4), fate=FATES, again=FATES)
    def submit_batch(self, job: NewJob, count: int, fate: str, again: str) -> None:
        """Submit a batch, all or none."""
        self.link.items = [job] * count
        with self.fate(fate, again):
            try:
                key = {"idempotency_key": job.idempotency_key, "fingerprint": job.fingerprint}
                made = self.queue.submit_batch(self.link.items, shards=self.shards, **key)
                self.ids += [(each.id, job.tenant) for each in driven(made).jobs]
            except (QueueFull, IdempotencyConflict):
                return

    @precondition(has_sent)
    @rule(script=st.sampled_from([scripts.CANCEL, scripts.CANCEL, scripts.DELETE]), which=WHICH,
          fate=FATES)  # fmt: skip
    def cancel_or_delete(self, script: scripts.Script, which: int, fate: str) -> None:
        """Cancel a job, or delete it."""
        pool = self.ids
        if script is scripts.DELETE:
            ended = [
                a for books in self.link.shards.values() for a in books.jobs.values() if a.final
            ]
            pool = [(each.id, each.job.tenant) for each in ended] or pool
        # The newest first: few of the oldest still live.
        identifier, tenant = pool[-1 - which % len(pool)]
        with self.fate(fate):
            try:
                driven(self.queue._one(script, identifier, tenant))
            except (NoSuchJob, NotCancelable):
                return

    @rule(watch=st.booleans())
    def read(self, watch: bool) -> None:
        """Look at all jobs, as a client does that waits; an outcome once seen is never another."""
        self.look(watch=watch)

    # Workers ---------------------------------------------------------------------------------

    @rule(who=WHO, count=st.integers(1, 5), steal=st.booleans(), slow=st.booleans(), fate=FATES)
    def claim(self, who: int, count: int, steal: bool, slow: bool, fate: str) -> None:
        """Claim jobs ahead of the GPU."""
        if worker := self.awake(who):
            with self.fate(fate):
                worker.claim(count, start=False, steal=steal, slow=slow)

    @rule(who=WHO, count=st.integers(1, 3), fate=FATES)
    def claim_and_start(self, who: int, count: int, fate: str) -> None:
        """Claim jobs for an idle GPU."""
        if worker := self.awake(who):
            with self.fate(fate):
                worker.claim(count, start=True, steal=True)

    @precondition(can_act)
    @rule(who=WHO, which=WHICH, after=AFTER, tell=st.booleans(), fate=FATES)
    def start(self, who: int, which: int, after: int, tell: bool, fate: str) -> None:
        """Start a batch of what is held, after a while; what runs may tell how far it is."""
        self.set_clock(self.now + after)
        if worker := self.keeper(who):
            worker.arrive()
            with self.fate(fate):
                worker.start(self.chosen(worker, which))
            if tell:
                worker.progress(self.chosen(worker, which))

    @precondition(can_act)
    @rule(who=WHO, which=WHICH, fate=FATES, backoff_s=st.sampled_from([0.5, 0.0, 30.0]), kind=KINDS)
    def settle(self, who: int, which: int, fate: str, backoff_s: float, kind: str) -> None:
        """Jobs end."""
        if worker := self.keeper(who):
            worker.arrive()
            with self.fate(fate):
                worker.settle(self.chosen(worker, which), kind, backoff_s)

    @precondition(can_act)
    @rule(who=WHO, which=WHICH, fate=FATES, why=WHYS)
    def hand_back(self, who: int, which: int, fate: str, why: str) -> None:
        """Jobs are given up: who ran in a death is charged, who did so alone may be convicted."""
        if worker := self.keeper(who):
            some = worker.at_work() if why == "engine died" else self.chosen(worker, which)
            alone = len(some) == 1 if why == "engine died" else why == "convicted"
            with self.fate(fate):
                worker.give_up(some, charge=why != "drain", alone=alone)

    @rule(who=WHO, wrong=st.integers(0, 31), fate=FATES, again=FATES)
    def beat(self, who: int, wrong: int, fate: str, again: str) -> None:
        """A worker beats and sets itself right, sometimes naming what it should not."""
        if worker := self.awake(who):
            ids = [each for each, _ in self.ids[-1 - wrong : -wrong or None]] if wrong > 15 else []
            with self.fate(fate, again):
                worker.beat(ids)

    @rule(who=WHO, fate=FATES, what=LIVES)
    def life_changes(self, who: int, what: str, fate: str) -> None:
        """A process ends, in order or not, begins anew, or stops; another that stopped goes on."""
        worker = self.workers[who]
        frozen = [each for each in self.workers if each.frozen]
        if what == "freeze":
            for each in frozen or [worker]:
                each.frozen = not each.frozen
            return
        if what == "leave":
            worker = self.keeper(who) or worker
            who = self.workers.index(worker)
            with self.fate(fate):
                driven(worker.queue.leave())
        if what != "register":
            # Its last life stays known to Redis, and its packets may still be on their way.
            worker = self.workers[who] = self.new_worker(f"w{who}", VERSIONS[who])
        if what in ("restart", "register") and not worker.frozen:
            with self.fate(fate):
                worker.register()

    # The rest of the world -------------------------------------------------------------------

    @rule(adopt=st.booleans(), page=st.sampled_from([500, 500, 1, 2]),
          reached=st.sampled_from([1 << 40] * 3 + [BEAT_LIMIT_MS, BEAT_LIMIT_MS - 1]))  # fmt: skip
    def housekeeping(self, adopt: bool, page: int, reached: int) -> None:
        """Do what is due, or bury whose beats stopped."""
        if adopt:
            self.on_all(scripts.ADOPT, BEAT_LIMIT_MS, reached, page)
        else:
            self.on_all(scripts.SWEEP, page)

    @rule(who=WHO, production=st.sampled_from(["", "", "1", "2"]), lost=st.booleans(),
          page=st.sampled_from([250, 250, 1, 2]), fate=FATES)  # fmt: skip
    def follow(self, who: int, production: str, lost: bool, page: int, fate: str) -> None:
        """A worker, of the version in production or of another, takes over from lost ones."""
        if worker := self.awake(who):
            mine = VERSIONS[self.workers.index(worker)]
            # By chance alone all of a version are hardly ever away at once.
            gone = self.replaced(mine) if lost else []
            served = Served(worker.queue.life, MODEL, mine, production or mine, ("1", "2"))
            with self.fate(fate):
                self.on_all(scripts.FOLLOW, *served.args(page))
            for each in gone:
                each.register()

    def replaced(self, mine: str) -> list[Worker]:
        """Let all leave that serve another version; return who is to come in their place."""
        places = [at for at, each in enumerate(self.workers) if not each.frozen]
        others = [at for at in places if VERSIONS[at] != mine]
        for at in others:
            driven(self.workers[at].queue.leave())
            self.workers[at] = self.new_worker(f"w{at}", VERSIONS[at])
        return [self.workers[at] for at in others]

    @precondition(has_given)
    @rule(which=WHICH, ended=st.booleans(), stale=STALE, what=WRITES)
    def stale_write(self, which: int, ended: bool, stale: str, what: str) -> None:
        """Somebody writes with a token or a life that is no longer the job's."""
        jobs = {each: a for books in self.link.shards.values() for each, a in books.jobs.items()}
        given = [each for each in self.link.given if each[1].id in jobs]
        lives = {life for life, _ in self.link.given}
        if stale == "life":
            given = [each for each in given if jobs[each[1].id].token == each[1].token]
        else:
            given = [each for each in given if jobs[each[1].id].token != each[1].token]
        given = [each for each in given if jobs[each[1].id].final == ended] or given
        if which > 127:
            # It is most tempting where another one is at work.
            working = [each for each in given if jobs[each[1].id].status == Status.RUNNING]
            given = working or given
        if not given:
            return
        life, job = given[-1 - which % len(given)]
        if stale == "life":
            life = min(lives - {life}, default="nobody:0")
        elif stale == "token":
            life = jobs[job.id].worker or life
        writer = self.new_worker("late", "1")
        # It has no engine: it is a packet.
        self.link.processes.remove(writer)
        # As who slept in the midst of its work would: it tells how far it is, then the rest.
        writer.write_as(life, job, "progress")
        writer.write_as(life, job, what)

    @rule(step=STEPS)
    def time_passes(self, step: int) -> None:
        """The clock goes on, or somebody sets it back."""
        self.pass_time(step)
