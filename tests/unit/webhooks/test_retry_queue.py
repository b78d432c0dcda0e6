"""What RQ is asked for, how often, and what it may run."""

from __future__ import annotations

import re

import pytest
from rq.serializers import JSONSerializer

from webhooks.retry_queue import RetryQueue, slot_of
from webhooks.rq_connection import AWAY
from webhooks.rq_parts import ALLOWED, AllowedJob, NotAllowed, job_id, queue_name

NOW = 1_800_000_000.0


@pytest.mark.parametrize("delay_s", [0, 0.3, 4.1, 5.9, 300, 7200, 86400])
def test_a_slot_begins_after_the_retry_is_due_and_not_long_after(delay_s):
    next_at = int((NOW + delay_s) * 1000)
    late_s = slot_of(next_at, NOW) - next_at / 1000
    assert 0 <= late_s <= max(1.0, delay_s * 0.02)


def test_many_retries_share_few_slots():
    delays = [7200 * (0.8 + 0.4 * number / 1000) for number in range(1000)]
    assert len({slot_of(int((NOW + delay) * 1000), NOW) for delay in delays}) < 60


class FakePipeline:
    def __init__(self, queue):
        self.queue = queue

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def execute(self):
        if self.queue.away:
            raise AWAY[0]("away")
        self.queue.groups.append(list(self.queue.jobs))
        self.queue.jobs.clear()


class FakeQueue:
    """As much of RQ's queue as is used."""

    name = "hr-q"

    def __init__(self):
        self.connection = self
        self.jobs = []
        self.groups = []
        self.away = False

    def pipeline(self):
        return FakePipeline(self)

    def enqueue_at(self, when, name, *, args, job_id, **_):
        self.jobs.append((when.timestamp(), name, args, job_id))


async def test_one_job_for_each_shard_and_slot():
    queue = FakeQueue()
    async with RetryQueue(queue, lambda: NOW) as retries:
        for number in range(50):
            retries.ask(7, int((NOW + 4.01) * 1000) + number)
        retries.ask(8, int((NOW + 4.01) * 1000))
    at = NOW + 5
    name = "webhooks.retries.release"
    assert [job for group in queue.groups for job in group] == [
        (at, name, (7,), job_id("hr-q", f"release-7-{int(at)}")),
        (at, name, (8,), job_id("hr-q", f"release-8-{int(at)}")),
    ]


async def test_an_rq_that_is_away_is_asked_again_when_there_is_more():
    queue = FakeQueue()
    queue.away = True
    async with RetryQueue(queue, lambda: NOW) as retries:
        retries.ask(7, int(NOW * 1000) + 4000)
        await retries.idle()
        queue.away = False
        queue.jobs.clear()
        retries.ask(7, int(NOW * 1000) + 4000)
    assert len(queue.groups) == 1


def job(name, instance=None):
    made = AllowedJob("x", connection=object(), serializer=JSONSerializer)
    made.data = JSONSerializer.dumps([name, instance, [], {}])
    return made


@pytest.mark.parametrize("name", ALLOWED)
def test_our_own_callables_are_found(name):
    assert job(name).func.__module__ == "webhooks.retries"


@pytest.mark.parametrize(
    "made",
    [
        job("os.system"),
        job("builtins.eval"),
        job("webhooks.retries.logs.configure"),
        job(None),
        job("release", "instance"),
        job("webhooks.retries.release", "instance"),
    ],
)
def test_no_other_callable_is_even_imported(made):
    with pytest.raises(NotAllowed):
        _ = made.func


def test_callbacks_and_webhooks_of_rq_do_nothing():
    made = job(ALLOWED[0])
    made._success_callback_name = made._failure_callback_name = "os.abort"
    made._stopped_callback_name = "os.abort"
    assert made.success_callback is made.failure_callback is made.stopped_callback is None
    assert made.send_webhooks("finished") is None


def test_two_installations_have_ids_of_their_own_that_rq_takes():
    ids = {job_id(queue_name(namespace), "release-7-9") for namespace in ("a.b", "a_b", "c")}
    assert len(ids) == 3
    assert all(re.fullmatch(r"[A-Za-z0-9_-]+", each) for each in ids)


def test_two_installations_have_two_queues():
    assert queue_name("a") != queue_name("b")
