"""Fakes that keep the promises of the outbox and of receivers, for the tests of the sender."""

from __future__ import annotations

import asyncio

from egress.connect import Answer
from jobs.errors import QueueUnavailable
from jobs.webhook import Delivery, Leased, Verdict

SECRET = "whsec_" + "QUFB" * 8


def delivery(number=0, endpoint="a", *, tries=0, type_="job.succeeded", **more):
    return Delivery(
        id=f"wh_{number:029}",
        owner=more.pop("owner", "job_1"),
        tenant=more.pop("tenant", "acme"),
        type=type_,
        url=more.pop("url", f"https://{endpoint}.example/hook"),
        endpoint=endpoint,
        secret=more.pop("secret", SECRET),
        body=more.pop("body", b'{"type":"job.succeeded"}'),
        tries=tries,
        token=more.pop("token", f"t{number}"),
        traceparent=more.pop("traceparent", None),
    )


def answer(status=200, *, headers=None, body=b"", seconds=0.01):
    return Answer(status, headers or {}, body, len(body), seconds)


class FakeOutbox:
    """One shard with deliveries that are due, in memory."""

    def __init__(self, due=()):
        self.due = list(due)
        self.leased = {}
        self.told = []
        self.away = False
        self.events = []
        #: The shard's clock.
        self.now = 0
        self.calls = []
        self.changed = asyncio.Event()

    def _check(self):
        if self.away:
            raise QueueUnavailable("Redis is away.")

    async def shards(self):
        self._check()
        return [7]

    async def pending(self, shard):
        return len(self.due) + len(self.leased) if shard == 7 else 0

    async def overdue(self, shard, grace_s):
        return 0

    async def untold(self, shard, most):
        self._check()
        self.calls.append("untold")
        return self.events[:most]

    async def forget(self, shard, events):
        self.calls.append("forget")
        self.events = self.events[len(events) :]
        self.changed.set()

    async def listen(self, shards):
        await asyncio.Event().wait()
        yield 0

    async def lease(self, shard, *, most, each, room, lease_s):
        self._check()
        self.calls.append("lease")
        taken, left, counts = [], [], {}
        for item in self.due:
            free = room.get(item.endpoint, each) - counts.get(item.endpoint, 0)
            if free > 0 and len(taken) < most:
                taken.append(item)
                counts[item.endpoint] = counts.get(item.endpoint, 0) + 1
            else:
                left.append(item)
        self.due = left
        self.leased.update({item.id: item for item in taken})
        more = len(taken) >= most
        return Leased(deliveries=taken, now=self.now, next_at=self.now if more else None)

    async def settle(self, shard, told):
        self._check()
        for each in told:
            self.leased.pop(each.delivery.id, None)
            if each.verdict is Verdict.BACK:
                self.due.append(each.delivery)
            self.told.append(each)
        self.changed.set()

    def verdicts(self):
        return [each.verdict for each in self.told]

    async def until(self, done):
        async with asyncio.timeout(20):
            while not done():
                self.changed.clear()
                await self.changed.wait()


class Receivers:
    """Answers by endpoint: a status, a CallFailed, or `hang`."""

    def __init__(self, **answers):
        self.answers = answers
        self.most = {}
        self.under_way = {}
        self.sent = []
        self.headers = []
        self.asked = asyncio.Event()

    async def until(self, number):
        async with asyncio.timeout(20):
            while len(self.sent) < number:
                self.asked.clear()
                await self.asked.wait()

    async def post(self, url, body, headers, timeout_s=15.0, connect_s=5.0):
        name = url.split("//")[1].split(".")[0]
        self.sent.append(name)
        self.headers.append(dict(headers))
        self.asked.set()
        self.under_way[name] = self.under_way.get(name, 0) + 1
        self.most[name] = max(self.most.get(name, 0), self.under_way[name])
        try:
            await asyncio.sleep(0.001)
            found = self.answers.get(name, 200)
            if found == "hang":
                await asyncio.Event().wait()
            if isinstance(found, Exception):
                raise found
            return answer(found)
        finally:
            self.under_way[name] -= 1


class Asked:
    """Notes which retries are asked for."""

    def __init__(self):
        self.retries = []

    def ask(self, shard, next_at):
        self.retries.append((shard, next_at))
