"""The sender on fakes: who is told when, and what becomes of the rest."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager

import pytest

from egress.connect import CallFailed
from jobs.webhook import Untold, Verdict
from webhooks.breaker import Breaker
from webhooks.hand import Hand
from webhooks.results import Results
from webhooks.schedule import Schedule
from webhooks.sender import Sender
from webhooks.trying import Trier

from .rig import Asked, FakeOutbox, Receivers, delivery


async def no_headers(*_):
    return {}


class Running:
    def __init__(self, outbox, receivers, **more):
        self.asked = Asked()
        self.counted = []
        results = Results(outbox, self.asked, self.counted.append)
        trier = Trier(receivers.post, more.pop("headers", no_headers))
        self.breaker = Breaker()
        self.hand = Hand(self.breaker, **more)
        self.sender = Sender(
            outbox, trier, results, Schedule(), breaker=self.breaker, hand=self.hand
        )
        self.stop = asyncio.Event()
        self.drain_s = 5.0
        self.task = asyncio.create_task(self.run())

    async def run(self):
        await self.sender.run(self.stop, self.drain_s)

    async def end(self):
        self.stop.set()
        async with asyncio.timeout(8):
            await self.task


@asynccontextmanager
async def running(outbox, receivers, **more):
    run = Running(outbox, receivers, **more)
    yield run
    if not run.task.done():
        run.task.cancel()
        await asyncio.gather(run.task, return_exceptions=True)


async def test_what_is_due_is_sent_and_noted():
    outbox, receivers = FakeOutbox([delivery(n) for n in range(200)]), Receivers()
    async with running(outbox, receivers) as run:
        await outbox.until(lambda: len(outbox.told) == 200)
        assert set(outbox.verdicts()) == {Verdict.DELIVERED}
        assert len(receivers.sent) == 200
        assert receivers.most == {"a": 8}
        assert run.counted == ["delivered"] * 200
        await run.end()


async def test_the_trace_of_a_job_is_passed_on_also_where_nothing_is_traced():
    trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
    outbox, receivers = FakeOutbox([delivery(1, traceparent=trace), delivery(2)]), Receivers()
    async with running(outbox, receivers) as run:
        await outbox.until(lambda: len(outbox.told) == 2)
        await run.end()
    assert sorted(receivers.headers, key=len) == [{}, {"traceparent": trace}]


async def test_one_that_hangs_delays_nobody_else():
    due = [delivery(n, "slow") for n in range(100)]
    due += [delivery(100 + n, "quick") for n in range(100)]
    outbox, receivers = FakeOutbox(due), Receivers(slow="hang")
    async with running(outbox, receivers):
        await outbox.until(lambda: len(outbox.told) == 100)
        assert {each.delivery.endpoint for each in outbox.told} == {"quick"}
        assert receivers.most["slow"] == 8


async def test_endpoints_take_turns():
    due = [delivery(n, "a") for n in range(30)] + [delivery(30 + n, "b") for n in range(30)]
    outbox, receivers = FakeOutbox(due), Receivers()
    async with running(outbox, receivers, under_way=2):
        await outbox.until(lambda: len(outbox.told) == 60)
        assert sorted(receivers.sent[:20]) == ["a"] * 10 + ["b"] * 10


async def test_no_more_are_under_way_in_all_than_allowed():
    due = [delivery(n, f"e{n}") for n in range(50)]
    outbox, receivers = FakeOutbox(due), Receivers(**{f"e{n}": "hang" for n in range(50)})
    async with running(outbox, receivers, under_way=20) as run:
        await receivers.until(20)
        assert run.hand.under_way == 20
        assert len(run.hand) == 50


async def test_no_more_are_held_than_there_is_room_for():
    outbox = FakeOutbox([delivery(n, f"e{n}") for n in range(50)])
    receivers = Receivers(**{f"e{n}": "hang" for n in range(50)})
    async with running(outbox, receivers, held=30) as run:
        await receivers.until(30)
        assert len(run.hand) == 30
        assert len(outbox.due) == 20


async def test_after_ten_failures_the_rest_stays_due_and_untried():
    outbox = FakeOutbox([delivery(n) for n in range(60)])
    receivers = Receivers(a=500)
    async with running(outbox, receivers) as run:
        await outbox.until(lambda: run.breaker.most("a") == 0)
        await outbox.until(lambda: outbox.due and not outbox.leased)
        tried = [each for each in outbox.told if each.tried is not None]
        # Those under way when the tenth failed are tried as well.
        assert 10 <= len(tried) <= 18
        assert {each.verdict for each in tried} == {Verdict.RETRY}
        assert len(outbox.due) == 60 - len(tried)
        assert len(run.asked.retries) == len(tried)
        await run.end()


async def test_a_call_that_fails_is_a_retry_and_asked_for():
    outbox, receivers = FakeOutbox([delivery()]), Receivers(a=CallFailed("timeout", "late"))
    async with running(outbox, receivers) as run:
        await outbox.until(lambda: outbox.told)
        [told] = outbox.told
        assert (told.verdict, told.tried.outcome) == (Verdict.RETRY, "timeout")
        await run.end()
        assert run.asked.retries == [(7, told.next_at)]


async def test_a_lease_that_is_nearly_over_is_let_go_and_not_sent(monkeypatch):
    # Less than a try's own time and the margin.
    monkeypatch.setattr("webhooks.visits.LEASE_S", 19.0)
    outbox, receivers = FakeOutbox([delivery()]), Receivers()
    async with running(outbox, receivers):
        await outbox.until(lambda: outbox.told)
        assert outbox.verdicts()[0] is Verdict.BACK
        assert receivers.sent == []


async def test_results_wait_for_redis_and_are_not_lost():
    outbox, receivers = FakeOutbox([delivery(n) for n in range(5)]), Receivers()
    async with running(outbox, receivers) as run:
        outbox.away = False
        real = outbox.settle
        fails = [3]

        async def settle(shard, told):
            outbox.away = fails[0] > 0
            fails[0] -= 1
            await real(shard, told)

        outbox.settle = settle
        await outbox.until(lambda: len(outbox.told) == 5)
        assert set(outbox.verdicts()) == {Verdict.DELIVERED}
        await run.end()


async def test_stopping_lets_tries_end_and_gives_back_the_rest():
    outbox = FakeOutbox([delivery(n, "slow") for n in range(20)])
    receivers = Receivers(slow="hang")
    async with running(outbox, receivers) as run:
        await receivers.until(8)
        run.drain_s = 0.2
        await run.end()
        # What could not end in time is due again when its lease runs out.
        assert outbox.verdicts() == [Verdict.BACK] * 12
        assert len(outbox.leased) == 8


@pytest.mark.parametrize("error", [RuntimeError("a bug"), KeyError("another")])
async def test_a_try_that_breaks_leaves_its_delivery_to_its_lease(error):
    outbox, receivers = FakeOutbox([delivery(0, "bad"), delivery(1, "good")]), Receivers(bad=error)
    async with running(outbox, receivers) as run:
        await outbox.until(lambda: outbox.told)
        assert [each.delivery.endpoint for each in outbox.told] == ["good"]
        await run.end()
        assert list(outbox.leased) == [delivery(0).id]


async def test_the_clock_of_the_shard_says_when_a_retry_is_due():
    outbox, receivers = FakeOutbox([delivery()]), Receivers(a=500)
    outbox.now = 5_000_000_000_000
    async with running(outbox, receivers) as run:
        await outbox.until(lambda: outbox.told)
        [told] = outbox.told
        assert 4_000 <= told.next_at - outbox.now <= 10_000
        assert told.tried.next_at == told.next_at
        await run.end()


async def test_a_backlog_of_events_does_not_hold_up_what_is_due():
    outbox, receivers = FakeOutbox([delivery()]), Receivers()
    # Nobody can be told of these.
    outbox.events = [
        Untold(entry=str(n), type="job.failed", at=1, seq=1, tenant="", webhook=None, owner="job_1")
        for n in range(256 * 20)
    ]
    async with running(outbox, receivers) as run:
        await outbox.until(lambda: outbox.told)
        assert 0 < outbox.calls.index("lease") <= 16
        await outbox.until(lambda: not outbox.events)
        await run.end()
