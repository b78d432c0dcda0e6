"""The talk with Redis is cut at every script about deliveries, both ways: each end is told once."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import pytest

from headrace.chaos.api import Api
from headrace.chaos.client import Client, Refused
from headrace.chaos.ledger import Ledger
from headrace.chaos.points import WHERE, Point
from headrace.chaos.process import until
from headrace.chaos.proxy import Proxy
from headrace.chaos.receiver import Receiver
from headrace.chaos.stack import Stack
from headrace.chaos.telling import LATE_S, owed, untold
from headrace.chaos.traffic import MODEL
from jobs.audit import audit
from jobs.connection import RedisConnections
from jobs.policy import QueueOptions

from .sizes import report

#: role -> the scripts that it sends for webhooks
SENDS = {
    "sender": ("untold", "post", "lease", "told", "waiting"),
    "retries": ("release",),
    "api": ("calls", "replay", "endpoints", "uncall"),
}
SENT_FOR_WEBHOOKS = {name for names in SENDS.values() for name in names}
#: seconds in which each script is sent at least once
SOON_S = 30.0


class Life:
    """Clients that go on meanwhile: they submit, look deliveries up, and have them sent again."""

    def __init__(self, api: Api, ledger: Ledger, receiver: Receiver) -> None:
        self.client = Client([api], ledger)
        self.wrong: list[str] = []
        self._receiver = receiver
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._go_on)

    def __enter__(self) -> Life:
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        self._over.set()
        self._thread.join()

    def _go_on(self) -> None:
        for number in itertools.count():
            if self._over.wait(0.02):
                return
            try:
                self._once(number)
            except (Refused, TimeoutError) as error:
                self.wrong.append(str(error))

    def _once(self, number: int) -> None:
        ask, given = self.client.insist, {"n": number, "seconds": 0.0, "do": "return"}
        job = self.client.submit(
            MODEL, given, number, about={"tells": True}, webhook=self._receiver.webhook()
        )
        if number % 5:
            return
        until(lambda: job["id"] in self._receiver.told, LATE_S, "an end is told")
        path = f"/v1/jobs/{job['id']}/webhooks"
        [delivery] = ask("GET", path).json()["data"]
        ask("POST", f"{path}/{delivery['id']}/replay", {202})
        ask("GET", "/v1/admin/webhook-endpoints")
        # Also what is pending, or gone by a call whose answer was lost.
        ask("DELETE", f"/v1/admin/dead/webhooks/{delivery['id']}", {204, 404})


@contextmanager
def proxies(stack: Stack) -> Iterator[dict[str, Proxy]]:
    with ExitStack() as close:
        log = stack.folder / "cuts.jsonl"
        yield {role: close.enter_context(Proxy(stack.redis_url, role, log=log)) for role in SENDS}


def findings(url: str) -> list[str]:
    async def look() -> list[str]:
        async with RedisConnections(url) as connections:
            found = await audit(connections, QueueOptions())
            return [f"{each.kind} {each.key}: {each.detail}" for each in found]

    return asyncio.run(look())


@pytest.mark.timeout(900)
def test_every_point_of_a_delivery_is_cut_once() -> None:
    with (
        Stack(webhook_allow="127.0.0.0/8") as stack,
        proxies(stack) as at,
        Receiver(stack.folder / "events.jsonl", seed=1, fails=0.2) as receiver,
    ):
        api = stack.api(redis_url=at["api"].url)
        stack.worker()
        for part, role in (("sender", "sender"), ("retries", "retries"), ("cron", "retries")):
            stack.webhooks(part, redis_url=at[role].url, rq_redis_url=stack.redis_url)
        api.ready(MODEL)
        ledger = Ledger(stack.folder / "ledger.jsonl")
        began, missed, cuts = time.monotonic(), [], 0
        with Life(api, ledger, receiver) as life:
            until(lambda: len(receiver.told) > 5, 30, "the first ends are told")
            for role, names in SENDS.items():
                for name, where in itertools.product(names, WHERE):
                    [armed] = at[role].arm(Point(name, where))
                    if armed.wait(SOON_S):
                        cuts += 1
                    else:
                        missed.append(f"{role} {name} {where}")
                        at[role].disarm(armed)
        with contextlib.suppress(TimeoutError):
            life.client.read_all(60)
            until(lambda: not owed(ledger) - receiver.told, LATE_S, "every end is told")
        wrong = [*untold(ledger, receiver), *life.wrong, *ledger.open()]
        until(lambda: not findings(stack.redis_url), 30, "the books agree")
        held = not wrong and not missed
        report(
            "webhook_cuts",
            held,
            cuts=cuts,
            missed=len(missed),
            jobs=len(ledger.accepted),
            calls=receiver.calls,
            wrong=len(wrong),
            seconds=round(time.monotonic() - began, 1),
        )
        assert held, (missed, wrong[:20])
        ledger.close()
