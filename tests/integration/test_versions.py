"""A model gets another version: what named none follows to it, once nobody serves its own."""

from __future__ import annotations

import asyncio

import orjson
import pytest

from jobs import scripts
from jobs.audit import audit
from jobs.cards import CardStore
from jobs.states import Priority, Status
from jobs.worker_queue import HandBack
from tests.integration.queue_rig import SHARDS, Rig, done
from tests.integration.version_rig import kept, publish, versions_of, worker_of
from worker.card_command import _served
from worker.settings import WorkerSettings


async def test_waiting_jobs_follow_in_order_before_what_comes_later(rig: Rig) -> None:
    await publish(rig, "1", "2")
    jobs = [await rig.submit(tenant="ab"[at % 2]) for at in range(6)]
    heir = await worker_of(rig, "2")
    assert await heir.follow() == 6
    later = await rig.submit(tenant="a", version="2")
    claimed = [job.id for job in await heir.claim(9)]
    of_a = [job.id for job in jobs[::2]]
    assert [each for each in claimed if each in {*of_a, later.id}] == [*of_a, later.id]
    assert [each for each in claimed if each not in of_a][:3] == [job.id for job in jobs[1::2]]
    assert await heir.follow() == 0


async def test_a_version_that_is_served_keeps_its_jobs(rig: Rig) -> None:
    await publish(rig, "1", "2")
    job = await rig.submit()
    old, heir = await worker_of(rig, "1"), await worker_of(rig, "2")
    assert await heir.follow() == 0
    [claimed] = await old.claim(1)
    await old.leave()
    assert await heir.follow() == 1
    [again] = await heir.claim(1, start=True)
    assert again.id == job.id == claimed.id
    assert (await heir.settle([done(again)]))[job.id] == "ok"
    assert (await rig.get(job)).version == "2"


@pytest.mark.parametrize("state", ["draining", "failed"])
async def test_a_worker_that_claims_nothing_any_more_keeps_no_jobs(rig: Rig, state: str) -> None:
    await publish(rig, "1", "2")
    await rig.submit()
    old, heir = await worker_of(rig, "1"), await worker_of(rig, "2")
    await old.beat([], state=state, stats={})
    assert await heir.follow() == 1


async def test_what_was_pinned_stays(rig: Rig) -> None:
    await publish(rig, "1", "2")
    pinned = [await rig.submit(pinned=True, priority=priority) for priority in Priority]
    free = await rig.submit()
    old = await worker_of(rig, "1")
    returned = await old.claim(2)
    await old.hand_back([HandBack(job.id, job.token) for job in returned])
    await old.leave()
    heir = await worker_of(rig, "2")
    assert await heir.follow() == 1
    assert [job.id for job in await heir.claim(9)] == [free.id]
    back = await worker_of(rig, "1")
    assert {job.id for job in await back.claim(9)} == {job.id for job in pinned}


async def test_the_version_in_production_takes_over_before_any_other(rig: Rig) -> None:
    await publish(rig, "1", "2", "3")
    await rig.submit()
    second, third = await worker_of(rig, "2"), await worker_of(rig, "3")
    assert await second.follow() == 0
    await publish(rig, "2")
    # The sweep looks whether a card has changed.
    await asyncio.gather(second.sweep(), third.sweep())
    assert await third.follow() == 0
    assert await second.follow() == 1


async def test_where_nobody_serves_production_one_that_is_ready_takes_over(rig: Rig) -> None:
    await publish(rig, "1", "2")
    loading = await worker_of(rig, "1", "a", state="loading")
    waits, pinned = await rig.submit(version="2"), await rig.submit(version="2", pinned=True)
    assert await loading.follow() == 0
    ready = await worker_of(rig, "1", "b")
    assert await ready.follow() == 1
    assert await versions_of(rig, [waits, pinned]) == ["1", "2"]


async def test_one_worker_of_a_version_moves_for_all(rig: Rig) -> None:
    await publish(rig, "1", "2")
    await rig.submit()
    workers = [await worker_of(rig, "2", name) for name in "cab"]
    assert [await each.follow() for each in workers] == [0, 1, 0]


async def test_a_tenants_lane_does_not_hold_up_the_others(rig: Rig) -> None:
    await publish(rig, "1", "2")
    await asyncio.gather(*(rig.submit(priority=Priority.LOW) for _ in range(600)))
    one = await rig.submit(tenant="pinned-co")
    heir = await worker_of(rig, "2")
    args = [*rig.options.policy, heir.life, "echo", "2", "2", 250, "1"]
    assert await rig.connections.run(scripts.FOLLOW, SHARDS[0], args) > 1
    assert await versions_of(rig, [one]) == ["2"]


async def test_who_pins_and_who_does_not_have_one_turn_and_go_by_age(rig: Rig) -> None:
    mine = [await rig.submit(tenant="a", pinned=bool(at % 3)) for at in range(12)]
    others = [await rig.submit(tenant="b") for _ in range(12)]
    worker = await worker_of(rig, "1")
    claimed = [job.id for _ in range(6) for job in await worker.claim(2)]
    assert abs(len({*claimed} & {job.id for job in mine}) - 6) <= 1
    rest = claimed + [job.id for job in await worker.claim(20)]
    for line in (mine, others):
        ids = [job.id for job in line]
        assert [each for each in rest if each in ids] == ids


async def test_a_long_line_follows_page_by_page(rig: Rig) -> None:
    await publish(rig, "1", "2")
    jobs = await asyncio.gather(*(rig.submit(tenant=f"t{at % 3}") for at in range(600)))
    heir = await worker_of(rig, "2")
    moved = 0
    while moved < 600:
        moved += await heir.follow()
    assert set(await versions_of(rig, jobs)) == {"2"}
    assert await audit(rig.connections, rig.options) == []


async def test_what_waits_for_another_attempt_follows_when_it_is_due(rig: Rig) -> None:
    await publish(rig, "1", "2")
    job = await rig.submit()
    old = await worker_of(rig, "1")
    [claimed] = await old.claim(1, start=True)
    await old.settle([done(claimed, "retry", b"{}", backoff_s=1.5)])
    await old.leave()
    heir = await worker_of(rig, "2")
    assert await heir.follow() == 0
    await asyncio.sleep(1.51)
    await heir.sweep()
    assert await heir.follow() == 1
    [again] = await heir.claim(1)
    assert (again.id, again.attempt) == (job.id, 2)


async def test_one_that_followed_is_canceled_and_expires_as_any(rig: Rig) -> None:
    await publish(rig, "1", "2")
    canceled, late = await rig.submit(), await rig.submit(deadline_s=1.5)
    heir = await worker_of(rig, "2")
    assert await heir.follow() == 2
    await rig.queue.cancel(canceled.id, "default")
    await asyncio.sleep(1.51)
    assert await heir.sweep() == [("echo", "2")]
    assert (await rig.get(canceled)).status is Status.CANCELED
    assert (await rig.get(late)).status is Status.EXPIRED
    assert await rig.counts() == (0, 0)
    assert await audit(rig.connections, rig.options) == []


async def test_one_that_is_kept_for_who_pins_keeps_nobody_else_waiting(rig: Rig) -> None:
    await publish(rig, "1", "2")
    free, pinned = await rig.submit(), await rig.submit(pinned=True)
    await kept(rig)
    heir = await worker_of(rig, "2")
    assert await heir.follow() == 1
    assert await versions_of(rig, [free, pinned]) == ["2", "1"]


async def test_one_that_is_kept_for_who_pins_leaves_moving_to_the_others(rig: Rig) -> None:
    await publish(rig, "2", "1")
    await rig.submit(version="2")
    await kept(rig)
    back = await worker_of(rig, "1")
    assert await back.follow() == 1


async def test_a_model_that_only_a_kept_version_serves_goes_to_the_new_one(rig: Rig) -> None:
    settings = WorkerSettings(redis_url=rig.connections.url)
    await publish(rig, "1")
    await kept(rig)
    assert not await _served(settings, rig.connections, "echo", "1")
    await worker_of(rig, "1")
    assert await _served(settings, rig.connections, "echo", "1")


async def test_lanes_of_pinned_jobs_do_not_slow_down_who_follows(rig: Rig) -> None:
    await publish(rig, "1", "2")
    for at in range(40):
        await rig.submit(tenant=f"p{at}", pinned=True)
    await asyncio.gather(*(rig.submit(tenant=f"t{at % 3}") for at in range(1000)))
    heir = await worker_of(rig, "2")
    args = [*rig.options.policy, heir.life, "echo", "2", "2", 250, "1"]
    moved = [await rig.connections.run(scripts.FOLLOW, SHARDS[0], args) for _ in range(4)]
    assert moved == [250] * 4


async def test_the_other_line_of_a_lane_is_ahead_too(rig: Rig) -> None:
    for _ in range(5):
        await rig.submit()
    assert (await rig.get(await rig.submit(pinned=True))).ahead == 5
    assert (await rig.get(await rig.submit())).ahead == 6


async def test_a_version_kept_for_who_pins_it_never_takes_production(rig: Rig) -> None:
    await publish(rig, "1", "2")
    store = CardStore(rig.connections)
    card = orjson.dumps({"name": "echo", "version": "1", "shards": SHARDS, "description": "x"})
    await store.publish(card, model="echo", version="1", production=False)
    assert await store.production() == {"echo": "2"}
    assert card in [each.raw for each in await store.entries()]
    alone = orjson.dumps({"name": "alone", "version": "1", "shards": SHARDS})
    await store.publish(alone, model="alone", version="1", production=False)
    assert await store.production() == {"alone": "1", "echo": "2"}
