"""A small world that tells much: jobs end at once, and senders do most of what is done."""

from __future__ import annotations

from hypothesis import strategies as st
from hypothesis.stateful import precondition, rule

from jobs import scripts
from jobs.errors import NoSuchJob, NotCancelable
from jobs.job import NewJob

from .books import DAY
from .draws import FATES, TOLD, WHICH
from .fleet import driven
from .sending import Sending, has_calls, has_sent


class Telling(Sending):
    """Jobs with webhooks come, run and end; senders, administrators and the clock do the rest."""

    @rule(jobs=st.lists(TOLD, min_size=1, max_size=3), batch=st.booleans(), kind=st.booleans())
    def run(self, jobs: list[NewJob], batch: bool, kind: bool) -> None:
        """Submit jobs, begin them, tell how far they are, and end them."""
        if batch:
            self.link.items = [jobs[0]] * len(jobs)
            made = driven(self.queue.submit_batch(self.link.items, shards=self.shards))
            self.ids += [(each.id, each.tenant) for each in made.jobs]
        else:
            self.commit(jobs, "", "", "")
        worker = self.workers[0]
        worker.claim(8, start=True, steal=False)
        worker.start(list(worker.held.values()))
        worker.progress(list(worker.held.values()))
        worker.settle(worker.at_work(), "succeeded" if kind else "failed", 0)

    @precondition(has_sent)
    @rule(which=WHICH, fate=FATES)
    def delete(self, which: int, fate: str) -> None:
        """Delete a job that has ended."""
        identifier, tenant = self.ids[-1 - which % len(self.ids)]
        with self.fate(fate):
            try:
                driven(self.queue._one(scripts.DELETE, identifier, tenant))
            except (NoSuchJob, NotCancelable):
                return

    @rule()
    def sweep(self) -> None:
        """Do what is due."""
        self.on_all(scripts.SWEEP, 500)

    @precondition(has_calls)
    @rule(step=st.sampled_from([600, 600, 4_000, 4_000, 61_000, 4 * DAY, 8 * DAY, -600]))
    def time_passes(self, step: int) -> None:
        """The clock goes on, days at once, or somebody sets it back."""
        self.pass_time(step)
