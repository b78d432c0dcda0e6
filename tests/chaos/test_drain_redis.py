"""SIGTERM to a worker whose Redis is away: what is finished waits for it, and nothing is lost."""

from __future__ import annotations

import signal
import time
from pathlib import Path

from headrace.chaos.side_log import SideLog
from headrace.chaos.stack import Api, Process, Stack, until

from .workers import await_ready, variant, worker_of

LIMIT_S = 2.0
MODEL = "gated"
#: What the chaos model sleeps by, and a wait for the gate in its place.
SLEEPS = "time.sleep(max(item.seconds for item in batch))"
WAITS = """while max(item.seconds for item in batch) and not Path(f"{_LOG}.open").exists():
            time.sleep(0.01)"""


def busy(stack: Stack, **settings: str) -> tuple[Api, Process, str]:
    """An API, and a worker that runs one job: until `let_end`, however late the machine is."""
    api = stack.api(beat_limit_s=f"{LIMIT_S:g}")
    model = variant(stack, MODEL, (SLEEPS, WAITS))
    worker = worker_of(stack, "w", model, beat_limit_s=f"{LIMIT_S:g}", **settings)
    await_ready(api, 1, MODEL)
    job = api.submit(MODEL, {"seconds": 1.0}, timeout_s=600)["id"]
    log = SideLog(stack.side_log)
    until(lambda: log.busy(worker.engine()), what="the worker runs it")
    return api, worker, str(job)


def let_end(stack: Stack) -> None:
    Path(f"{stack.side_log}.open").touch()


def runs_of(stack: Stack, job: str) -> int:
    log = SideLog(stack.side_log)
    log.poll()
    return len(log.by_job[job])


def test_a_result_waits_in_the_drain_for_redis_to_come_back(stack: Stack) -> None:
    api, worker, job = busy(stack, drain_s="60")
    engine = worker.engine()
    stack.redis.kill()
    worker.signal(signal.SIGTERM)
    let_end(stack)
    log = SideLog(stack.side_log)
    # By its pid: with nothing more to run the engine ends soon after the batch.
    until(lambda: not log.busy(engine), what="the batch ends")
    time.sleep(0.5)
    assert worker.running
    stack.start_redis()
    until(lambda: not worker.running, 30, "the worker ends")
    assert worker.exit_code == 0
    assert api.finished(job, 30)["status"] == "succeeded"
    assert runs_of(stack, job) == 1


def test_a_worker_that_cannot_store_its_results_says_so_and_they_are_run_again(
    stack: Stack,
) -> None:
    api, worker, job = busy(stack, drain_s="2")
    stack.redis.kill()
    began = time.monotonic()
    worker.signal(signal.SIGTERM)
    let_end(stack)
    until(lambda: not worker.running, 30, "the worker ends")
    assert worker.exit_code == 1
    # It waits for five seconds at the least, however little time the batch had.
    assert time.monotonic() - began > 4
    stack.start_redis()
    # Nobody is buried before Redis has answered for a whole limit; then the API does it.
    worker.start()
    ended = api.finished(job, 60)
    assert (ended["status"], ended["crashes"]) == ("succeeded", 1)
    assert runs_of(stack, job) == 2
