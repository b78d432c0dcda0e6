"""Workers and APIs are restarted by SIGTERM, one after the other, under load: nobody notices."""

from __future__ import annotations

import random
import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import count

import pytest

from headrace.chaos.client import Client
from headrace.chaos.ledger import Ledger
from headrace.chaos.side_log import SideLog
from headrace.chaos.stack import Api, Process, Stack, until

from .sizes import FULL, report, seed, size
from .workers import Books, await_ready, variant, worker_of

DRAIN_S = 30.0 if FULL else 10.0
#: The last worker gets so little time that it hands most of its batches back.
HURRIED_S = 2.0 if FULL else 0.3
#: on top of DRAIN_S: the end of the engine, and storing what is done
LEAVING_S = 6.0
SHORT_S, LONG_S = (0.1, 20.0) if FULL else (0.05, 3.0)
#: jobs that are not final at any time: more than the workers take at once
OPEN_JOBS = 60
WORKERS, APIS = 3, 2


class Load:
    """Clients that always have as many jobs open, of lengths between the shortest and longest."""

    def __init__(self, client: Client, rng: random.Random) -> None:
        self._client = client
        self._rng = rng
        self._numbers = count()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Load:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _length_s(self) -> float:
        # As many of each order of magnitude; every fiftieth is the longest there may be.
        if self._rng.random() < 0.02:
            return LONG_S
        return SHORT_S * (LONG_S / SHORT_S) ** (self._rng.random() ** 2)

    def _run(self) -> None:
        with ThreadPoolExecutor(8) as pool:
            while not self._stop.is_set():
                self._client.read_once()
                missing = OPEN_JOBS - len(self._client.ledger.open())
                lengths = [round(self._length_s(), 3) for _ in range(max(0, missing))]
                list(pool.map(self._submit, lengths))
                time.sleep(0.1)

    def _submit(self, seconds: float) -> None:
        number = next(self._numbers)
        given = {"n": number, "seconds": seconds}
        self._client.submit("chaos", given, number, timeout_s=120)


def restart_worker(worker: Process) -> tuple[int, float]:
    """Return its exit code and how long it took to leave."""
    began = time.monotonic()
    code = worker.stop(DRAIN_S + 30)
    took_s = time.monotonic() - began
    worker.start()
    return code, took_s


def restart_api(api: Api, books: Books, waits: ThreadPoolExecutor) -> tuple[int, float]:
    """With waits open on it; return its exit code and how long the slowest of them took."""
    jobs = [api.submit("cold", {})["id"] for _ in range(4)]
    held: list[Future[tuple[float, str]]] = [waits.submit(_wait, api, job) for job in jobs]
    until(lambda: books.watched().issuperset(jobs), what="all are held")
    assert not any(each.done() for each in held)
    asked = time.monotonic()
    code = api.process.stop(DRAIN_S + 30)
    answers = [each.result(10) for each in held]
    assert {status for _, status in answers} == {"queued"}, answers
    api.process.start()
    api.up(90)
    return code, max(at for at, _ in answers) - asked


def _wait(api: Api, job_id: str) -> tuple[float, str]:
    answer = api.call("GET", f"/v1/jobs/{job_id}", params={"wait": 60})
    assert answer.status_code == 200, answer.text
    return time.monotonic(), str(answer.json()["status"])


@pytest.mark.timeout(600)
def test_rolling_restarts_cost_no_job_and_no_crash(stack: Stack) -> None:
    drawn, restarts = seed(), size("rolling_restarts")
    rng = random.Random(drawn)
    apis = [stack.api() for _ in range(APIS)]
    # A model that has had a worker and has none: its jobs wait as long as the test likes.
    cold = stack.worker(variant(stack, "cold"))
    apis[0].ready("cold")
    assert cold.stop() == 0
    books = Books(stack, "cold")
    drains = [*[DRAIN_S] * (WORKERS - 1), HURRIED_S]
    workers = [worker_of(stack, f"w{at}", drain_s=f"{s:g}") for at, s in enumerate(drains)]
    apis[0].ready("chaos")
    client = Client(apis, Ledger(stack.folder / "ledger.jsonl"))
    left: list[tuple[int, float]] = []
    hurried: set[int] = set()
    api_left: list[tuple[int, float]] = []
    with ThreadPoolExecutor(8) as waits, Load(client, rng):
        for number in range(restarts):
            time.sleep(rng.uniform(0.2, 1.0))
            if number % WORKERS == WORKERS - 1:
                hurried.add(workers[-1].pid)
            left.append(restart_worker(workers[number % WORKERS]))
            if number % 4 == 3:
                api_left.append(restart_api(apis[number // 4 % APIS], books, waits))
            await_ready(apis[0], WORKERS)
    client.read_all(120 if not FULL else 600)
    verdict = client.ledger.verdict()
    crashes = sum(told["crashes"] for told in client.ledger.outcomes.values())
    log = SideLog(stack.side_log)
    log.poll()
    # A run that was not the last of its job was ended by a drain without the time for it.
    again = [each for job in client.ledger.accepted for each in log.by_job[job][:-1]]
    strange = [each for each in again if each.feeder not in hurried]
    codes = [code for code, _ in left + api_left]
    slowest = max(took for _, took in left)
    passed = (
        verdict["lost"] == verdict["two_outcomes"] == crashes == len(strange) == 0
        and set(verdict["statuses"]) == {"succeeded"}
        and set(codes) == {0}
        and slowest <= DRAIN_S + LEAVING_S
        and max(took for _, took in api_left) < 2
    )
    report(
        "rolling",
        passed,
        seed=drawn,
        restarts=len(left),
        api_restarts=len(api_left),
        **verdict,
        crashes=crashes,
        run_again=len(again),
        run_again_for_nothing=len(strange),
        exit_codes=sorted(set(codes)),
        slowest_drain_s=round(slowest, 2),
        slowest_wait_s=round(max(took for _, took in api_left), 2),
    )
    assert passed
