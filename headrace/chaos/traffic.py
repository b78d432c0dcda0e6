"""What the client of a campaign does: every way to submit, cancel and wait, from one seed."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from headrace.chaos.client import Client, Refused

MODEL = "chaos"
#: seconds between two looks at jobs whose outcome nobody waits for
LOOK_S = 1.0
#: seconds in which a job that must fail has failed
FAIL_S = 120.0
WAIT_S = 3

#: what a job is for: the states in which it may end
ENDS: dict[str, tuple[str, ...]] = {
    "plain": ("succeeded",),
    "batch": ("succeeded",),
    "wait": ("succeeded",),
    "cancel": ("canceled", "succeeded"),
    "deadline": ("expired", "succeeded"),
    "error": ("failed",),
    "error_once": ("succeeded",),
    "crash_once": ("succeeded",),
}
DOES = {"error": "raise", "error_once": "raise_once", "crash_once": "crash_once"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Mix:
    """Which acts come how often, and how long jobs run."""

    kinds: Mapping[str, int]
    #: (share, shortest, longest), in seconds
    seconds: Sequence[tuple[int, float, float]]
    #: The most jobs that are accepted and have no outcome yet: more only make the end longer.
    most_open: int


#: Everything that a client can do, with jobs long enough to be caught running.
EVERYTHING = Mix(
    kinds={
        "plain": 500,
        "batch": 40,
        "wait": 120,
        "cancel": 40,
        "deadline": 20,
        "error": 10,
        "error_once": 20,
        "crash_once": 3,
    },
    seconds=((50, 0.0, 0.01), (35, 0.02, 0.06), (12, 0.08, 0.25), (3, 0.4, 0.9)),
    most_open=400,
)
#: Many small jobs, for faults that have to meet submits.
SUBMITS = Mix(kinds={"plain": 50, "batch": 10}, seconds=((1, 0.0, 0.002),), most_open=2_000)


@dataclass(frozen=True, slots=True, kw_only=True)
class Order:
    """One act of the client: a job, or a batch of them."""

    number: int
    kind: str
    inputs: list[dict[str, Any]]
    #: seconds; what it means depends on the kind
    delay: float

    @property
    def tells(self) -> bool:
        """Whether its end is to be told to a receiver, where there is one."""
        return self.number % 3 == 0

    def about(self, given: dict[str, Any]) -> dict[str, Any]:
        """What the ledger is to know of a job, to judge its outcome."""
        about = {"n": given["n"], "do": given["do"], "kind": self.kind, "may": ENDS[self.kind]}
        return {**about, "tells": self.tells}


def orders(seed: int, jobs: int, mix: Mix) -> Iterator[Order]:
    """Return the same acts for the same seed, so many that they make this number of jobs."""
    dice = random.Random(f"traffic-{seed}")
    names, weights = list(mix.kinds), list(mix.kinds.values())
    number = 0
    while number < jobs:
        kind = dice.choices(names, weights)[0]
        count = min(dice.randint(5, 25), jobs - number) if kind == "batch" else 1
        inputs = [
            {"n": number + i, "seconds": _seconds(dice, mix), "do": DOES.get(kind, "return")}
            for i in range(count)
        ]
        yield Order(number=number, kind=kind, inputs=inputs, delay=dice.uniform(0, 0.5))
        number += count


def _seconds(dice: random.Random, mix: Mix) -> float:
    _, least, most = dice.choices(mix.seconds, [share for share, _, _ in mix.seconds])[0]
    return round(dice.uniform(least, most), 3)


@dataclass
class Traffic:
    """Sends the orders over many connections, as far as it is let, and reads what became of them.

    `allowed` says how many jobs may have been sent by now, so that faults and jobs go on together.
    """

    client: Client
    seed: int
    jobs: int
    mix: Mix
    allowed: Callable[[], float]
    #: What a submit says whose end is to be told.
    webhook: dict[str, Any] | None = None
    failed: list[str] = field(default_factory=list)
    sent: int = 0
    _done: threading.Event = field(default_factory=threading.Event)

    def run(self) -> None:
        """Send everything; returns when each job is acknowledged."""
        reader = threading.Thread(target=self._read)
        reader.start()
        try:
            with ThreadPoolExecutor(self.client.connections) as pool:
                feed, lock = orders(self.seed, self.jobs, self.mix), threading.Lock()
                acts = [pool.submit(self._serve, feed, lock) for _ in range(pool._max_workers)]
                for act in acts:
                    act.result()
        finally:
            self._done.set()
            reader.join()

    def _serve(self, feed: Iterator[Order], lock: threading.Lock) -> None:
        while True:
            with lock:
                order = next(feed, None)
                if order is None:
                    return
                while order.number >= self.allowed() or self._full():
                    time.sleep(0.02)
                self.sent = order.number + len(order.inputs)
            try:
                getattr(self, f"_{order.kind}", self._plain)(order)
            except (Refused, TimeoutError) as error:
                self.failed.append(f"{order.kind} {order.number}: {error}")

    def _full(self) -> bool:
        return self.client.ledger.waiting > self.mix.most_open

    def _plain(self, order: Order, **options: Any) -> dict[str, Any]:
        given = order.inputs[0]
        about = order.about(given)
        options |= self._told(order)
        return self.client.submit(MODEL, given, order.number, about=about, **options)

    def _told(self, order: Order) -> dict[str, Any]:
        return {"webhook": self.webhook} if self.webhook and order.tells else {}

    def _batch(self, order: Order) -> None:
        about = [order.about(given) for given in order.inputs]
        told = self._told(order)
        self.client.submit_batch(MODEL, order.inputs, order.number, about=about, **told)

    def _wait(self, order: Order) -> None:
        given = order.inputs[0]
        headers = {**self.client.key(order.number), "Prefer": f"wait={WAIT_S}"}
        asked = time.monotonic()
        answer = self.client.insist(
            "POST",
            f"/v1/models/{MODEL}/jobs",
            {200, 202},
            json={"input": given, **self._told(order)},
            headers=headers,
            answer_s=WAIT_S + 5,
        )
        job = answer.json()
        self.client.ledger.accept(job["id"], order.about(given))
        self.client.ledger.tell(job, asked=asked)

    def _cancel(self, order: Order) -> None:
        job = self._plain(order)
        time.sleep(order.delay)
        asked = time.monotonic()
        answer = self.client.insist("POST", f"/v1/jobs/{job['id']}/cancel", {200, 409})
        if answer.status_code == 200:
            self.client.ledger.tell(answer.json(), asked=asked)

    def _deadline(self, order: Order) -> None:
        """A deadline that the backlog makes hopeless is refused, which promises nothing."""
        try:
            self._plain(order, deadline_s=0.05 + 2 * order.delay)
        except Refused as error:
            if error.code != "deadline_unreachable":
                raise
            self.client.ledger.refuse(error.code)

    def _error(self, order: Order) -> None:
        """Wait for the failure, then ask for another run, which fails as well."""
        job = self._plain(order)
        end = time.monotonic() + FAIL_S
        path = f"/v1/jobs/{job['id']}"
        while job["status"] != "failed" and time.monotonic() < end:
            answer = self.client.insist("GET", path, params={"wait": 2}, answer_s=7)
            job = answer.json()
        headers = self.client.key(f"again-{order.number}")
        answer = self.client.insist("POST", f"{path}/retry", {202}, headers=headers)
        about = order.about(order.inputs[0])
        self.client.ledger.accept(answer.json()["id"], about)

    def _read(self) -> None:
        while not self._done.wait(LOOK_S):
            try:
                self.client.read_once()
            except (Refused, TimeoutError) as error:
                self.failed.append(f"read: {error}")
