"""Clients that fill a Redis until they are refused, and what is watched meanwhile."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import redis

from headrace.chaos.api import Api
from headrace.chaos.client import Client, Refused
from headrace.chaos.ledger import Ledger

BULKY = Path(__file__).parent / "models" / "bulky"
MODEL = "bulky"
KIB = 1024
MIB = 1024 * KIB

#: Results live so long in these gates, in seconds: soon enough for a queue to take jobs again,
#: long enough for a reader that comes by every half a second.
KEPT_S = 20


class Clients:
    """Many who submit without mercy, and one who reads what became of it."""

    def __init__(self, apis: list[Api], ledger: Ledger, threads: int = 12) -> None:
        self.apis = apis
        self.ledger = ledger
        self._reading = Client(apis, ledger, connections=1)
        self._threads = threads
        #: A refusal that came as something else than 503 queue_full with a time to come back.
        self.wrong: list[str] = []

    def flood(self, given: Callable[[int], dict[str, Any]], most: int) -> int:
        """Submit until each has been refused, or so many were taken; return how many were."""
        before = len(self.ledger.accepted)
        numbers = iter(range(most))
        lock = threading.Lock()

        def pour(api: Api) -> None:
            while True:
                with lock:
                    number = next(numbers, None)
                if number is None or not self.submit(api, {"n": number, **given(number)}):
                    return

        with ThreadPoolExecutor(self._threads) as pool:
            list(pool.map(pour, [self.apis[i % len(self.apis)] for i in range(self._threads)]))
        return len(self.ledger.accepted) - before

    def submit(self, api: Api, given: dict[str, Any]) -> bool:
        """Submit once; say whether it was taken."""
        answer = api.post(MODEL, given)
        if answer.status_code == 202:
            self.ledger.accept(answer.json()["id"])
            return True
        code = answer.json()["code"]
        self.ledger.refuse(code)
        if answer.status_code != 503 or not 1 <= int(answer.headers.get("retry-after", 0)) <= 300:
            self.wrong.append(f"{answer.status_code} {answer.headers} {answer.text}")
        return False

    def taken_again(self, given: dict[str, Any], seconds: float) -> float:
        """Submit until one is taken; return after how many seconds, which may be too many."""
        began = time.monotonic()
        while not self.submit(self.apis[0], given) and time.monotonic() - began < seconds:
            time.sleep(0.2)
        return time.monotonic() - began

    @contextlib.contextmanager
    def reading(self) -> Iterator[None]:
        """Read what became of the jobs all the time: results do not live long here."""
        done = threading.Event()

        def read() -> None:
            while not done.wait(0.3):
                try:
                    self._reading.read_once()
                except (Refused, TimeoutError) as error:
                    self.wrong.append(repr(error))

        thread = threading.Thread(target=read)
        thread.start()
        try:
            yield
        finally:
            done.set()
            thread.join()

    def drained(self, seconds: float) -> None:
        """Wait until every accepted job has its outcome, or time is over."""
        until = time.monotonic() + seconds
        while self.ledger.open() and time.monotonic() < until:
            time.sleep(0.1)


def learned(redis_url: str) -> float:
    """Return the size of a result that workers have told; 0 while none has."""
    with redis.Redis.from_url(redis_url) as client:
        keys = client.keys(f"*stats:{MODEL}")
        return float((keys and client.hget(keys[0], "result_bytes")) or 0)


@contextlib.contextmanager
def watched(look: Callable[[], float]) -> Iterator[list[float]]:
    """Look all the time; yields a list whose only item is the highest value seen."""
    highest, done = [0.0], threading.Event()

    def keep_looking() -> None:
        while not done.wait(0.02):
            with contextlib.suppress(Exception):
                highest[0] = max(highest[0], look())

    thread = threading.Thread(target=keep_looking)
    thread.start()
    try:
        yield highest
    finally:
        done.set()
        thread.join()
