"""Let everything come to rest: every accepted job must end, and be forgotten without a trace."""

from __future__ import annotations

from typing import TYPE_CHECKING

from jobs import scripts

from .books import DAY
from .draws import CHANNEL
from .fleet import Worker, driven
from .link import TALLY
from .senders import tell_everything
from .telling import check_told, check_woken

if TYPE_CHECKING:
    from .world import World

#: Rounds of work after which a job that has not ended is stuck.
ROUNDS = 40


def come_to_rest(world: World) -> None:
    """End all jobs, then wait until they are forgotten."""
    link = world.link
    link.fates = []
    for comparer in link.comparers.values():
        comparer.check_all()
        comparer.check_tries()
    if world.survive:
        _survivors_tidy_up(world)
    else:
        _all_die(world)
    fresh = [world.new_worker(f"fresh{version}", version) for version in ("1", "2")]
    for worker in fresh:
        worker.register()
    for number in range(ROUNDS):
        world.on_all(scripts.SWEEP, 250)
        for worker in fresh:
            _work(worker)
        if all(account.final for books in link.shards.values() for account in books.jobs.values()):
            break
        # A clock that was set back often makes a backoff long.
        world.set_clock(world.now + (1_000 << number // 2))
        if world.survive:
            _survivors_tidy_up(world)
    else:
        open_ = [a for books in link.shards.values() for a in books.jobs.values() if not a.final]
        raise AssertionError(f"stuck: {[(a.id, a.status, a.place, a.worker) for a in open_]}")
    world.look(watch=False)
    for comparer in link.comparers.values():
        comparer.check_all()
        comparer.check_tries()
        check_told(comparer)
    check_woken(world.ear, CHANNEL, list(link.shards.values()))
    TALLY["jobs"] += sum(len(books.jobs) for books in link.shards.values())
    _forget(world, fresh)


def _survivors_tidy_up(world: World) -> None:
    """Living workers set right by themselves what lost calls have left behind."""
    for worker in world.workers:
        worker.tidy()


def _all_die(world: World) -> None:
    """Nobody comes back; what they held is adopted after a limit."""
    world.set_clock(world.now + 1)
    # A clock that was set back has left beats in the future: the first look lets them age.
    for wait in (0, 10_001):
        world.set_clock(world.now + wait)
        while any(world.on_all(scripts.ADOPT, 10_000, 1 << 40, 2)):
            pass
    for books in world.link.shards.values():
        assert not books.beats
        assert not any(books.held.values())


def _work(worker: Worker) -> None:
    """Run all that can be claimed."""
    while True:
        worker.claim(3, start=True, steal=True)
        if not worker.held:
            return
        while worker.held:
            worker.start(list(worker.held.values()))
            worker.settle(worker.at_work(), "succeeded", 0)


def _sweep_all(world: World, later: int) -> None:
    books = world.link.shards.values()
    world.set_clock(max([world.now, *(at for b in books for at in b.due.values())]) + later)
    while any(more for _, more in world.on_all(scripts.SWEEP, 3)):
        pass


def _forget(world: World, fresh: list[Worker]) -> None:
    for worker in [*fresh, *world.workers]:
        driven(worker.queue.leave())
    # Where nobody tells for a week, what is told outlives its job.
    _sweep_all(world, 0 if world.survive else 8 * DAY)
    tell_everything(world)
    for books in world.link.shards.values():
        TALLY["events"] += len(books.events)
        TALLY["deliveries"] += len(books.deliveries)
    _sweep_all(world, 0)
    assert not any(books.jobs for books in world.link.shards.values())
    world.set_clock(world.now + 8 * DAY)
    for comparer in world.link.comparers.values():
        if comparer.books.events:
            comparer.check_all()
    world.set_clock(world.now + 31 * DAY)
    world.on_all(scripts.ENDPOINTS, "")
    for comparer in world.link.comparers.values():
        comparer.check_all()
        comparer.check_eternal()
