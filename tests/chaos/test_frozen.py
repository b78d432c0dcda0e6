"""Processes that sleep past the beat limit and wake: what they write is refused, and they go on."""

from __future__ import annotations

import os
import random
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import count

import pytest

from headrace.chaos.client import Client
from headrace.chaos.ledger import Ledger
from headrace.chaos.side_log import Run, SideLog
from headrace.chaos.stack import Process, Stack, until

from .sizes import report, seed, size
from .workers import Books, await_ready, events, said_at, worker_of

LIMIT_S = 2.0
#: workers frozen at a time; one more is never frozen
AT_ONCE = 4
#: a woken worker hears of its burial with its next beat, may load its model anew, and works
BACK_S = 15.0
OPEN_JOBS = 50
PARTS = ("feeder", "both", "engine")
LENGTHS_S = (0.05, 1.5)


@dataclass
class Freeze:
    """One sleep of a worker; times are monotonic, as in the side log."""

    worker: Process
    parts: str
    #: the life that it sleeps in, as Redis calls it
    life: str
    asleep: float = 0.0
    awake: float = 0.0
    #: when it began its next life (Unix time): it has heard of its burial, and no sooner
    reborn: float | None = None
    #: how long after it woke its first new run began
    back_s: float | None = None

    @property
    def pids(self) -> list[int]:
        feeder, engine = [self.worker.pid], [self.worker.engine()]
        return {"feeder": feeder, "engine": engine, "both": feeder + engine}[self.parts]

    @property
    def buried(self) -> bool:
        """An engine that sleeps alone has a feeder that beats."""
        return self.parts != "engine"

    def signal(self, number: int) -> None:
        for pid in self.pids:
            os.kill(pid, number)

    def look(self, runs: list[Run]) -> None:
        """Note its next life, and the first run that began in it."""
        lives = events(self.worker, "worker_registered")
        later = lives[[each["life"] for each in lives].index(self.life) + 1 :]
        self.reborn = said_at(later[0]) if later else None
        # What it begins before it hears of its burial is of the life that is over.
        since = self.reborn if self.buried else 0.0
        if since is None:
            return
        own = [run for run in runs if run.feeder == self.worker.pid and run.began_wall > since]
        began = [run.began for run in own if run.began > self.awake]
        self.back_s = min(began) - self.awake if began else None


def load(client: Client, rng: random.Random, stop: threading.Event) -> None:
    numbers = count()
    while not stop.is_set():
        client.read_once()
        missing = range(OPEN_JOBS - len(client.ledger.open()))
        inputs = [
            {"n": next(numbers), "seconds": round(rng.uniform(*LENGTHS_S), 3)} for _ in missing
        ]
        with ThreadPoolExecutor(8) as pool:
            list(pool.map(lambda given: client.submit("chaos", given, given["n"]), inputs))
        time.sleep(0.1)


def freeze_all(
    log: SideLog, books: Books, workers: list[Process], parts: list[str], rng: random.Random
) -> list[Freeze]:
    """Put each worker to sleep while it runs something, and wake each past the limit."""
    asleep: list[Freeze] = []
    for worker, part in zip(workers, parts, strict=True):
        until(lambda worker=worker: log.busy(worker.engine()), what="the worker runs something")
        freeze = Freeze(worker, part, events(worker, "worker_registered")[-1]["life"])
        freeze.signal(signal.SIGSTOP)
        freeze.asleep = time.monotonic()
        asleep.append(freeze)
    time.sleep(LIMIT_S + 1.0)
    # Who looks for the dead once a second may itself be late.
    gone = {freeze.life for freeze in asleep if freeze.buried}
    until(lambda: not gone & books.alive(), what="they are buried")
    for freeze in asleep:
        time.sleep(rng.uniform(0, 0.5))
        freeze.signal(signal.SIGCONT)
        freeze.awake = time.monotonic()
    return asleep


def await_work(log: SideLog, freezes: list[Freeze]) -> None:
    """Until each has begun a run after it woke, under its new life where it was buried."""
    end = time.monotonic() + BACK_S
    while time.monotonic() < end and any(each.back_s is None for each in freezes):
        log.poll()
        for each in freezes:
            each.look(log.runs())
        time.sleep(0.1)


def stale(job_runs: list[Run], outcome: str, freezes: list[Freeze]) -> bool:
    """Whether the outcome is that of a sleeper, though the job was run again after its burial."""
    (told,) = [run for run in job_runs if run.run == outcome]
    for freeze in freezes:
        buried_at = freeze.asleep + LIMIT_S
        slept = told.feeder == freeze.worker.pid and told.began < freeze.asleep
        later = [run for run in job_runs if run is not told and run.began > buried_at]
        if freeze.buried and slept and later:
            return True
    return False


def explained(run: Run, freezes: list[Freeze]) -> bool:
    """Whether a run that was not the last of its job was on a worker that was put to sleep."""
    return any(
        freeze.buried
        and run.feeder == freeze.worker.pid
        and run.began_wall < (freeze.reborn or 0.0) + 1.0
        for freeze in freezes
    )


@pytest.mark.timeout(600)
def test_a_worker_that_slept_past_the_limit_writes_nothing_and_goes_on(stack: Stack) -> None:
    drawn, wanted = seed(), size("frozen_workers")
    rng = random.Random(drawn)
    # A job that is asleep with its worker looks like one that kills it: here that is no sign.
    settings = {"beat_limit_s": f"{LIMIT_S:g}", "max_crashes": "1000"}
    api = stack.api(**settings)
    workers = [worker_of(stack, f"w{each}", **settings) for each in range(AT_ONCE + 1)]
    await_ready(api, AT_ONCE + 1)
    log, books = SideLog(stack.side_log), Books(stack, "chaos")
    client = Client([api], Ledger(stack.folder / "ledger.jsonl"))
    stop = threading.Event()
    loading = threading.Thread(target=load, args=(client, rng, stop))
    loading.start()
    freezes: list[Freeze] = []
    try:
        while len(freezes) < wanted:
            parts = [PARTS[(len(freezes) + at) % 3] for at in range(AT_ONCE)]
            these = freeze_all(log, books, workers[1:], parts, rng)
            freezes += these
            await_work(log, these)
    finally:
        stop.set()
        loading.join()
    client.read_all(120)
    _judge(log, client, workers, freezes, drawn)


def _judge(
    log: SideLog, client: Client, workers: list[Process], freezes: list[Freeze], drawn: int
) -> None:
    verdict = client.ledger.verdict()
    log.poll()
    accepted = 0
    strange: list[Run] = []
    again = 0
    for job, told in client.ledger.outcomes.items():
        again += len(log.by_job[job]) > 1
        strange += [run for run in log.by_job[job][:-1] if not explained(run, freezes)]
        accepted += stale(log.by_job[job], told["output"]["run"], freezes)
    late = [each.parts for each in freezes if each.back_s is None]
    refused = [
        line
        for worker in workers
        for line in events(worker, "job_settled")
        if line["verdict"] == "stale"
    ]
    burials = sum(len(events(worker, "worker_was_buried")) for worker in workers)
    passed = (
        verdict["lost"] == verdict["two_outcomes"] == accepted == len(strange) == len(late) == 0
        and set(verdict["statuses"]) == {"succeeded"}
        and burials == sum(each.buried for each in freezes)
    )
    report(
        "frozen workers",
        passed,
        seed=drawn,
        freezes=len(freezes),
        burials=burials,
        **verdict,
        stale_accepted=accepted,
        stale_refused=len(refused),
        run_again=again,
        run_again_for_nothing=len(strange),
        not_back=late,
        slowest_back_s=round(max(each.back_s or 0 for each in freezes), 2),
    )
    assert passed, strange
