"""What is to be done for each version of a model, as autoscalers are told."""

from __future__ import annotations

from jobs.worker_queue import HandBack
from tests.integration.queue_rig import Rig, done
from tests.integration.version_rig import figures, kept, load, publish, worker_of


async def test_each_version_is_asked_for_what_only_it_may_run(rig: Rig) -> None:
    await publish(rig, "1", "2")
    for _ in range(2):
        await rig.submit()
    for _ in range(3):
        await rig.submit(pinned=True)
    for _ in range(4):
        await rig.submit(version="2")
    seen = await load(rig, "1", "2")
    # Nobody serves the first: what is pinned to it needs a worker of its own, the rest follows.
    assert figures(seen.for_production()) == (6, 0, 0, 1)
    assert figures(seen.for_version("1")) == (3, 0, 0, 1)
    assert figures(seen.for_version("2")) == (0, 0, 0, 0)
    assert (seen.queued, seen.lost, seen.backlog_seconds) == (9, 3, 6.0)
    # In production, the first has all that it may run.
    assert figures((await load(rig, "1", "2", production="1")).for_production()) == (9, 0, 0, 1)
    await kept(rig)
    seen = await load(rig, "1", "2")
    assert figures(seen.for_production()) == (6, 0, 0, 1)
    assert figures(seen.for_version("1")) == (3, 0, 1, 1)
    assert (seen.lost, seen.backlog_seconds) == (0, 9.0)


async def test_nothing_is_wanted_for_jobs_that_only_a_lost_version_may_run(rig: Rig) -> None:
    await publish(rig, "1", "2")
    for _ in range(3):
        await rig.submit(pinned=True)
    old = await worker_of(rig, "1")
    held, tried, _ = await old.claim(3, start=True)
    await old.hand_back([HandBack(held.id, held.token)])
    await old.settle([done(tried, "retry", b"{}", backoff_s=60)])
    await old.leave()
    # One was given back, one waits for another attempt, one for its first.
    seen = await load(rig, "1", "2")
    assert figures(seen.for_production()) == (0, 0, 0, 0)
    assert figures(seen.for_version("1")) == (3, 0, 0, 1)
    assert seen.backlog_seconds == 0


async def test_workers_that_are_kept_do_not_count_for_the_others(rig: Rig) -> None:
    await publish(rig, "1", "2")
    for _ in range(3):
        await rig.submit(pinned=True)
    for name in "ab":
        await (await kept(rig, name)).claim(1, start=True)
    seen = await load(rig, "1", "2")
    assert figures(seen.for_production()) == (0, 0, 0, 0)
    assert figures(seen.for_version("1")) == (1, 2, 2, 2)


async def test_workers_at_work_are_wanted_whatever_is_pinned(rig: Rig) -> None:
    await publish(rig, "1", "2")
    for name in "abcd":
        await rig.submit()
        await (await worker_of(rig, "1", name)).claim(1, start=True)
    await rig.submit(pinned=True)
    seen = await load(rig, "1", "2")
    assert figures(seen.for_production()) == (0, 4, 4, 4)


async def test_what_runs_where_it_is_pinned_takes_nothing_from_the_backlog(rig: Rig) -> None:
    await publish(rig, "1", "2")
    for _ in range(3):
        await rig.submit(pinned=True)
    old = await worker_of(rig, "1")
    await old.claim(3, start=True)
    await old.beat([], state="draining", stats={})
    for _ in range(5):
        await rig.submit(version="2")
    assert (await load(rig, "1", "2")).backlog_seconds == 5.0


async def test_what_waits_for_another_attempt_keeps_its_worker_wanted(rig: Rig) -> None:
    await publish(rig, "1", "2")
    await rig.submit(version="2")
    worker = await worker_of(rig, "2")
    [job] = await worker.claim(1, start=True)
    await worker.settle([done(job, "retry", b"{}", backoff_s=60)])
    assert figures((await load(rig, "1", "2")).for_production()) == (1, 0, 1, 1)
