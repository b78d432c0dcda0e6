"""kill -9 of sender, RQ's worker, its cron and Redis at random: every end is told, under one id."""

from __future__ import annotations

import itertools
import random
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from headrace.chaos.client import Client
from headrace.chaos.crew import Supervisor
from headrace.chaos.ledger import Ledger
from headrace.chaos.process import Process, until
from headrace.chaos.receiver import Receiver
from headrace.chaos.stack import Stack
from headrace.chaos.telling import LATE_S, owed, untold
from headrace.chaos.traffic import MODEL
from headrace.embedded_redis import find_server

from .sizes import report, seed, size

BATCH = 100
#: seconds between two kills: a part that was killed takes about one to come back
EVERY_S = 0.6


@contextmanager
def killing(victims: dict[str, Process], dice: random.Random) -> Iterator[dict[str, int]]:
    """Kill one after the other, by the pid it has; a supervisor starts them again."""
    kills = dict.fromkeys(victims, 0)
    over = threading.Event()
    # Each in turn, in an order that is drawn anew: of a drawing each time, one may never be hit.
    turns = (name for _ in itertools.count() for name in dice.sample(list(victims), len(victims)))
    with Supervisor(victims) as supervisor:

        def kill() -> None:
            while not over.wait(EVERY_S):
                name = next(turns)
                if victims[name].running:
                    supervisor.condemn(victims[name].pid)
                    victims[name].signal(signal.SIGKILL)
                    kills[name] += 1

        thread = threading.Thread(target=kill)
        thread.start()
        try:
            yield kills
        finally:
            over.set()
            thread.join()
            # Whoever was killed last is back before the supervisor goes.
            until(supervisor.all_back, 60, "all are back")
    assert supervisor.surprises == []


def second_redis(stack: Stack) -> tuple[Process, str]:
    """Start a Redis for RQ alone, which keeps nothing."""
    path = stack.folder / "rq.sock"
    command = [find_server().path, "--port", "0", "--unixsocket", str(path), "--save", ""]
    process = stack.process("rq-redis", command).start()
    url = f"unix://{path}"

    def answers() -> bool:
        try:
            with redis.Redis.from_url(url) as client:
                return bool(client.ping())
        except redis.RedisError:
            return False

    until(answers, 20, "the Redis of RQ")
    return process, url


@pytest.mark.timeout(600)
def test_every_end_is_told_whatever_is_killed() -> None:
    chosen, events, wanted = seed(), size("webhook_events"), size("webhook_kills")
    with Stack(webhook_allow="127.0.0.0/8", beat_limit_s="3") as stack:
        book = Receiver(stack.folder / "events.jsonl", seed=chosen, fails=0.1)
        _, rq_url = second_redis(stack)
        with book as receiver:
            api, _ = stack.api(), stack.worker()
            api.ready(MODEL)
            ledger = Ledger(stack.folder / "ledger.jsonl")
            client = Client([api], ledger)
            batches: set[str] = set()
            parts = {
                part: stack.webhooks(part, rq_redis_url=rq_url)
                for part in ("sender", "retries", "cron")
            }
            victims = {**parts, "redis": stack.redis}
            began = time.monotonic()
            with killing(victims, random.Random(chosen)) as kills:
                for first in range(0, events, BATCH):
                    # Events and kills go on together.
                    due = first * wanted // events
                    until(lambda due=due: sum(kills.values()) >= due, 60, "kills")
                    inputs = [
                        {"n": first + i, "seconds": 0.0, "do": "return"} for i in range(BATCH)
                    ]
                    told = {"about": [{"tells": True}] * BATCH, "webhook": receiver.webhook()}
                    batches.add(client.submit_batch(MODEL, inputs, first, **told)[0])
                    if first == events // BATCH // 2 * BATCH:
                        with redis.Redis.from_url(rq_url) as emptied:
                            emptied.flushall()
            client.read_all(90)
            # The end of a batch is told by itself, and may be the last to be taken.
            named = owed(ledger) | batches
            until(lambda: not named - receiver.told, LATE_S, "every end is told")
            wrong = untold(ledger, receiver)
            ends = {i for i, (type_, _, _) in receiver.events.items() if type_ != "batch.finished"}
            finished = len(receiver.events) - len(ends)
            held = (
                not wrong
                and min(kills.values()) > 0
                and len(ends) == len(ledger.accepted)
                and not ledger.open()
            )
            report(
                "webhooks",
                held and finished == events // BATCH,
                seed=chosen,
                accepted=len(ledger.accepted),
                events=len(ends),
                batches=finished,
                calls=receiver.calls,
                kills=kills,
                seconds=round(time.monotonic() - began, 1),
            )
            assert not wrong, wrong[:20]
            assert held
            assert finished == events // BATCH
            ledger.close()
