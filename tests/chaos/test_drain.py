"""SIGTERM to one worker, at every moment of its life: what is let end, and what goes back."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.chaos.side_log import Run, SideLog
from headrace.chaos.stack import Api, Process, Stack, until

from .workers import await_ready, events, variant, worker_of

#: a process that has nothing to wait for leaves within this time, on a machine with other work
SOON_S = 3.0


class Bench:
    """One API, and one model for each test."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.api: Api = stack.api(beat_limit_s="2")
        self.log = SideLog(stack.side_log)
        self.model = ""

    def worker(self, name: str, *changes: tuple[str, str], **settings: str) -> Process:
        """Start a worker of a model of this name; it is not waited for."""
        self.model = name
        folder = self.stack.folder / "models" / name
        if not folder.exists():
            variant(self.stack, name, *changes)
        return worker_of(self.stack, name, folder, **{"beat_limit_s": "2", **settings})

    def api_command(self) -> tuple[list[str], dict[str, str]]:
        """How to start an API that nobody waits for."""
        settings = {"HEADRACE_REDIS_URL": self.stack.redis_url, "HEADRACE_API_PORT": "0"}
        return [sys.executable, "-P", "-m", "api"], settings

    def ready(self) -> None:
        await_ready(self.api, 1, self.model)

    def learned(self, seconds: float) -> None:
        """Let the worker learn how long a batch takes."""
        self.api.finished(self.submit(seconds=seconds))

    def submit(self, **given: Any) -> str:
        return str(self.api.submit(self.model, given, timeout_s=600)["id"])

    def submit_all(self, count: int) -> list[str]:
        """Submit so many in one request."""
        path, body = f"/v1/models/{self.model}/jobs/batch", {"inputs": [{}] * count}
        answer = self.api.call("POST", path, json=body)
        assert answer.status_code == 202, answer.text
        return [job["id"] for job in answer.json()["jobs"]]

    def running(self, **given: Any) -> str:
        """Submit a job; it runs when this returns."""
        job = self.submit(**given)
        until(lambda: self.runs(job), what=f"{job} runs")
        return job

    def runs(self, job: str) -> list[Run]:
        self.log.poll()
        return self.log.by_job[job]


@pytest.fixture(scope="module")
def shared() -> Iterator[Bench]:
    with Stack() as stack:
        yield Bench(stack)


@pytest.fixture
def bench(shared: Bench) -> Bench:
    return shared


def draining(worker: Process) -> None:
    """Wait until it has heard of its end: a second signal before that would be the same one."""
    until(lambda: events(worker, "draining"), what="the drain begins")


def left(worker: Process, seconds: float) -> tuple[int, float]:
    """Wait for its end; return its exit code and how long it took."""
    began = time.monotonic()
    until(lambda: not worker.running, seconds, "the worker ends")
    assert worker.exit_code is not None
    return worker.exit_code, time.monotonic() - began


def test_a_batch_that_is_known_to_end_in_time_is_let_end(bench: Bench) -> None:
    worker = bench.worker("short", drain_s="10")
    bench.ready()
    bench.learned(2.5)
    job = bench.running(seconds=2.5)
    # At once: one by one they would take longer, on a busy machine, than what runs.
    waiting = bench.submit_all(30)
    worker.signal(signal.SIGTERM)
    code, took_s = left(worker, 13)
    assert (code, took_s < 2.5 + SOON_S) == (0, True)
    assert bench.api.get(job)["status"] == "succeeded"
    assert len(bench.runs(job)) == 1
    told = [bench.api.get(each) for each in waiting]
    assert {(each["status"], each["crashes"]) for each in told} <= {("queued", 0), ("succeeded", 0)}
    assert any(each["status"] == "queued" for each in told)


def test_a_batch_that_is_known_to_take_longer_goes_back_at_once(bench: Bench) -> None:
    # With seconds between the two, as the signal may come long after the batch began.
    worker = bench.worker("long", drain_s="3.5")
    bench.ready()
    bench.learned(7.0)
    job = bench.running(seconds=7.0)
    worker.signal(signal.SIGTERM)
    code, took_s = left(worker, 10)
    assert (code, took_s < 2) == (0, True), took_s
    told = bench.api.get(job)
    assert (told["status"], told["crashes"]) == ("queued", 0)


def test_a_batch_that_takes_longer_than_was_known_is_let_end_too(bench: Bench) -> None:
    worker = bench.worker("overdue", drain_s="8")
    bench.ready()
    bench.learned(0.2)
    job = bench.running(seconds=5.0)
    worker.signal(signal.SIGTERM)
    assert left(worker, 15)[0] == 0
    assert bench.api.get(job)["status"] == "succeeded"
    assert len(bench.runs(job)) == 1


def test_a_batch_of_unknown_length_has_all_the_time_of_the_drain(bench: Bench) -> None:
    worker = bench.worker("unknown", drain_s="2")
    bench.ready()
    job = bench.running(do="hang")
    worker.signal(signal.SIGTERM)
    code, took_s = left(worker, 12)
    assert (code, 1.5 < took_s < 2 + SOON_S) == (0, True), took_s
    told = bench.api.get(job)
    assert (told["status"], told["crashes"]) == ("queued", 0)
    bench.api.cancel(job)


def test_a_second_signal_hurries(bench: Bench) -> None:
    worker = bench.worker("hurried", drain_s="60")
    bench.ready()
    job = bench.running(do="hang")
    worker.signal(signal.SIGTERM)
    draining(worker)
    time.sleep(0.5)
    assert worker.running
    worker.signal(signal.SIGTERM)
    code, took_s = left(worker, 10)
    assert (code, took_s < SOON_S) == (0, True), took_s
    told = bench.api.get(job)
    assert (told["status"], told["crashes"]) == ("queued", 0)
    bench.api.cancel(job)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_to_all_its_processes_is_one_to_the_worker(bench: Bench, number: int) -> None:
    worker = bench.worker(f"group-{number}", drain_s="10")
    bench.ready()
    job = bench.running(seconds=1.5)
    for pid in (worker.engine(), worker.pid):
        os.kill(pid, number)
    assert left(worker, 10)[0] == 0
    assert bench.api.get(job)["status"] == "succeeded"
    assert len(bench.runs(job)) == 1


#: a load that lets other threads run, and one that keeps the interpreter for itself
LOADS = {"polite": "time.sleep(60)", "greedy": "import ctypes; ctypes.PyDLL(None).sleep(60)"}


@pytest.mark.parametrize("kind", LOADS)
def test_a_model_that_is_being_loaded_holds_nobody_up(bench: Bench, kind: str) -> None:
    worker = bench.worker(f"load-{kind}", ('"""Nothing to load."""', LOADS[kind]))
    until(lambda: events(worker, "worker_registered") and events(worker, "card_published"), 60)
    worker.signal(signal.SIGTERM)
    code, took_s = left(worker, 20)
    assert (code, took_s < SOON_S) == (0, True), took_s


def catches(pid: int, number: int) -> bool:
    """Whether a process has a handler for a signal: before, an interpreter is only being born."""
    status = Path(f"/proc/{pid}/status").read_text()
    mask = next(line.split()[1] for line in status.splitlines() if line.startswith("SigCgt"))
    return bool(int(mask, 16) >> (number - 1) & 1)


def caught_silent(process: Process) -> bool:
    """Whether it was seen with a handler before its first word; else it begins anew, to be seen."""
    before = len(process.said())
    until(lambda: catches(process.pid, signal.SIGTERM), 60, "a handler")
    if len(process.said()) == before:
        return True
    # This process may have looked away for as long as the start takes.
    process.kill_tree()
    process.start()
    return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("role", ["worker", "api"])
def test_a_signal_at_any_moment_of_the_start_ends_it_in_order(bench: Bench, role: str) -> None:
    if role == "worker":
        process = bench.worker("early")
    else:
        process = bench.stack.process("early-api", *bench.api_command()).start()
    # Long before there is anything to drain: it has not said a word.
    until(lambda: caught_silent(process), 60, "a handler before the first word")
    ends = []
    for step in range(8):
        caught = catches(process.pid, signal.SIGTERM)
        process.signal(signal.SIGTERM)
        ends.append((caught, *left(process, 20)))
        process.start()
        time.sleep(0.15 * (step + 1))
    process.kill_tree()
    assert {code for caught, code, _ in ends if caught} == {0}, ends
    assert max(took_s for _, _, took_s in ends) < SOON_S, ends


def test_a_job_that_is_canceled_during_the_drain_ends_as_canceled(bench: Bench) -> None:
    worker = bench.worker("canceled", drain_s="20", cancel_grace_s="0")
    bench.ready()
    job = bench.running(do="hang")
    time.sleep(1)
    worker.signal(signal.SIGTERM)
    draining(worker)
    assert bench.api.cancel(job).json()["status"] == "canceling"
    code, took_s = left(worker, 20)
    assert (code, took_s < SOON_S) == (0, True), took_s
    assert bench.api.get(job)["status"] == "canceled"
