"""Sleep of one process alone: an API with requests in flight, a worker with jobs it has claimed."""

from __future__ import annotations

import os
import signal
import time
from concurrent.futures import ThreadPoolExecutor

import httpx

from headrace.chaos.side_log import SideLog
from headrace.chaos.stack import Stack, until

from .sizes import report
from .workers import Books, await_ready, events, variant, worker_of

LIMIT_S = 2.0
#: a waiter's process looks again at all it waits for this often
LOOK_S = 5.0


def test_what_a_sleeping_worker_has_only_claimed_is_run_by_another(stack: Stack) -> None:
    # The others do not wait until it is buried, so here that takes as long as the test.
    late = {"beat_limit_s": "120"}
    api = stack.api(**late)
    sleeper = worker_of(stack, "sleeper", **late)
    await_ready(api, 1)
    for job in [api.submit("chaos", {"seconds": 0.05})["id"] for _ in range(20)]:
        api.finished(job)
    log = SideLog(stack.side_log)
    hung = api.submit("chaos", {"do": "hang_once"}, timeout_s=600)["id"]
    until(lambda: log.busy(sleeper.engine()), what="the worker hangs")
    submitted = [api.submit("chaos", {"n": number})["id"] for number in range(20)]
    books = Books(stack, "chaos")
    until(lambda: books.held() > 1 + 8, what="it has claimed more than one batch")
    for pid in (sleeper.pid, sleeper.engine()):
        os.kill(pid, signal.SIGSTOP)
    # One batch may be running for the world although it is behind the one that hangs.
    waiting = [job for job in submitted if api.get(job)["status"] == "queued"]
    assert len(waiting) >= len(submitted) - 8
    other = worker_of(stack, "other", **late)
    ended = [api.finished(job, 90) for job in waiting]
    told = api.get(hung)
    passed = {job["status"] for job in ended} == {"succeeded"}
    passed &= {log_of(log, job["id"]) for job in ended} == {other.pid}
    passed &= (told["status"], told["crashes"]) == ("running", 0)
    report("claimed by a sleeper", passed, jobs=len(ended))
    assert passed, (ended, told)


def log_of(log: SideLog, job: str) -> int:
    """The worker that ran a job, and it alone."""
    log.poll()
    (run,) = log.by_job[job]
    return run.feeder


def test_a_batch_that_nobody_wants_any_more_does_not_hold_the_gpu(stack: Stack) -> None:
    api = stack.api(beat_limit_s=f"{LIMIT_S:g}")
    slow = variant(stack, "slow", ('"""Nothing to load."""', "time.sleep(4)"))
    sleeper = worker_of(stack, "sleeper", slow, beat_limit_s=f"{LIMIT_S:g}")
    await_ready(api, 1, "slow")
    hung = api.submit("slow", {"do": "hang_once"}, timeout_s=600)["id"]
    log = SideLog(stack.side_log)
    until(lambda: log.busy(sleeper.engine()), what="the worker hangs")
    os.kill(sleeper.pid, signal.SIGSTOP)
    api.reaches(hung, "queued")
    os.kill(sleeper.pid, signal.SIGCONT)
    # Killing the engine costs a load of four seconds, so it is put off until the batch is known
    # to take longer; then it is killed, however long the time limit of its jobs was.
    assert api.finished(hung, 60)["status"] == "succeeded"
    report("dead work", True)


def test_an_api_that_slept_answers_its_waits_and_repeats_no_submit(stack: Stack) -> None:
    asleep, awake = (stack.api(beat_limit_s=f"{LIMIT_S:g}") for _ in range(2))
    worker = worker_of(stack, "w", beat_limit_s=f"{LIMIT_S:g}")
    await_ready(awake, 1)
    job = awake.submit("chaos", {"seconds": 2.0})["id"]
    with ThreadPoolExecutor(24) as pool:
        waits = [pool.submit(asleep.get, job, 60) for _ in range(8)]
        time.sleep(0.5)
        asleep.process.signal(signal.SIGSTOP)
        gone = list(pool.map(lambda number: submit(asleep.url, number, 1.0), range(12)))
        assert gone == [None] * 12
        kept = [submit(awake.url, number, 30.0) for number in range(12)]
        time.sleep(2 * LIMIT_S)
        woke_at = time.monotonic()
        asleep.process.signal(signal.SIGCONT)
        held = [wait.result(30) for wait in waits]
        took_s = time.monotonic() - woke_at
    assert {each["status"] for each in held} == {"succeeded"}
    # What clients had sent before they went is read by now: it was the same submit.
    again = [submit(asleep.url, number, 30.0) for number in range(12)]
    ended = [awake.finished(str(each)) for each in kept]
    log = SideLog(stack.side_log)
    log.poll()
    numbers = [run.job for run in log.runs()]
    buried = len(events(worker, "worker_was_buried"))
    passed = (
        again == kept
        and {each["status"] for each in ended} == {"succeeded"}
        and len(numbers) == len(set(numbers)) == 13
        and took_s <= LOOK_S + 2
        and not buried
    )
    report("sleeping API", passed, submits=len(kept), waits=len(held), slowest_s=round(took_s, 2))
    assert passed, (again == kept, len(numbers), took_s, buried)


def submit(url: str, number: int, patience_s: float) -> str | None:
    """Submit under a key of its own; None when the client gave up and left."""
    headers = {"Idempotency-Key": f"asleep-{number}"}
    body = {"input": {"n": number}}
    with httpx.Client(base_url=url, timeout=patience_s) as client:
        try:
            answer = client.post("/v1/models/chaos/jobs", json=body, headers=headers)
        except httpx.TransportError:
            return None
    assert answer.status_code == 202, answer.text
    return str(answer.json()["id"])
