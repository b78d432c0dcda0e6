"""What a worker held when it was killed is queued again within the beat limit and a second."""

from __future__ import annotations

import contextlib
import os
import random
import signal
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pytest

from headrace.chaos.side_log import SideLog
from headrace.chaos.stack import Api, Process, Stack, until

from .sizes import report, seed, size
from .workers import Books, await_ready, events, ready, variant, worker_of

#: the default of BEAT_LIMIT_S, and what is allowed on top of it
LIMIT_S, SLACK_S = 10.0, 1.0
#: as often as a worker beats: kills are spread over it, so that each age of a beat is met
BEAT_EVERY_S = 2.0
JOBS_EACH = 4
#: workers killed in one round
AT_ONCE = 10


@dataclass
class Death:
    """One killed worker: how long each part took until its jobs were seen in line again."""

    jobs: list[str]
    killed_at: float = 0.0
    #: how old its last beat was by then
    beat_age_s: float = 0.0
    seen_at: float = 0.0

    @property
    def took_s(self) -> float:
        return self.seen_at - self.killed_at

    @property
    def sweep_s(self) -> float:
        """From the moment at which it could be buried."""
        return self.took_s - (LIMIT_S - self.beat_age_s)


def batch(api: Api, model: str, inputs: list[dict[str, Any]], **options: Any) -> list[str]:
    answer = api.call("POST", f"/v1/models/{model}/jobs/batch", json={"inputs": inputs, **options})
    assert answer.status_code == 202, answer.text
    return [job["id"] for job in answer.json()["jobs"]]


def told(api: Api, ids: list[str]) -> Iterator[dict[str, Any]]:
    for start in range(0, len(ids), 100):
        some = ",".join(ids[start : start + 100])
        answer = api.call("GET", "/v1/jobs", params={"ids": some, "limit": 100})
        yield from answer.json()["data"]


def hung(log: SideLog, worker: Process) -> list[str]:
    """The jobs that a worker runs and will never end."""
    log.poll()
    return [run.job for run in log.runs() if run.feeder == worker.pid and run.ended is None]


def victims(stack: Stack, api: Api, number: int, count: int) -> dict[str, tuple[Process, Death]]:
    """Start workers, each of which runs jobs that do not end."""
    names = [f"victim-{number}-{each}" for each in range(count)]
    before, log = ready(api), SideLog(stack.side_log)
    started = {name: worker_of(stack, name) for name in names}
    await_ready(api, before + count)

    def idle() -> int:
        return sum(not hung(log, each) for each in started.values())

    # One may take what was meant for another, so more are sent until none is idle.
    while before_these := idle():
        batch(api, "chaos", [{"do": "hang_once"}] * JOBS_EACH, timeout_s=600)
        with contextlib.suppress(TimeoutError):
            until(lambda: idle() < before_these, 3)
    return {name: (each, Death(hung(log, each))) for name, each in started.items()}


def kill_all(books: Books, doomed: dict[str, tuple[Process, Death]], rng: random.Random) -> None:
    """Each at a moment of its own within the time between two beats."""
    moments = sorted((rng.uniform(0, BEAT_EVERY_S), name) for name in doomed)
    began = time.monotonic()
    for after_s, name in moments:
        process, death = doomed[name]
        time.sleep(max(0.0, began + after_s - time.monotonic()))
        death.beat_age_s = books.beat_age_s(name)
        process.kill_tree()
        death.killed_at = time.monotonic()


def watch(api: Api, deaths: list[Death]) -> None:
    """Note when each has all its jobs back in line: a crash is charged in the same step."""
    end = time.monotonic() + 3 * LIMIT_S
    while open_deaths := [death for death in deaths if not death.seen_at]:
        assert time.monotonic() < end, "jobs of a killed worker are not queued again"
        jobs = [job for death in open_deaths for job in death.jobs]
        back = {job["id"] for job in told(api, jobs) if job["crashes"]}
        now = time.monotonic()
        for death in open_deaths:
            if back.issuperset(death.jobs):
                death.seen_at = now
        time.sleep(0.03)


@pytest.mark.timeout(600)
def test_jobs_of_a_killed_worker_are_queued_again_within_eleven_seconds(stack: Stack) -> None:
    drawn, kills = seed(), size("adoption_kills")
    rng = random.Random(drawn)
    api, books = stack.api(), Books(stack, "chaos")
    deaths: list[Death] = []
    for number in range(0, kills, AT_ONCE):
        survivor = worker_of(stack, f"survivor-{number}", cancel_grace_s="0")
        await_ready(api, 1)
        # It must not take what is meant for the victims: it is busy until they are. As it has not
        # learned how long a batch takes, it does not claim ahead either.
        (idle,) = batch(api, "chaos", [{"do": "hang_once"}], timeout_s=600)
        api.reaches(idle, "running")
        doomed = victims(stack, api, number, min(AT_ONCE, kills - number))
        api.cancel(idle)
        api.finished(idle)
        kill_all(books, doomed, rng)
        these = [death for _, death in doomed.values()]
        watch(api, these)
        deaths += these
        for job in [job for death in these for job in death.jobs]:
            assert api.finished(job, 60)["status"] == "succeeded"
        assert survivor.stop() == 0
    took = sorted(death.took_s for death in deaths)
    p99 = took[min(len(took) - 1, round(0.99 * len(took)))]
    figures = {
        "kills": len(deaths),
        "jobs": sum(len(death.jobs) for death in deaths),
        "p50_s": round(statistics.median(took), 2),
        "p99_s": round(p99, 2),
        "max_s": round(took[-1], 2),
        "mean_beat_age_s": round(statistics.mean(death.beat_age_s for death in deaths), 2),
        "mean_sweep_s": round(statistics.mean(death.sweep_s for death in deaths), 3),
        "max_sweep_s": round(max(death.sweep_s for death in deaths), 3),
    }
    passed = p99 <= LIMIT_S + SLACK_S
    report("adoption", passed, seed=drawn, **figures)
    assert passed, figures


def busy_and_ahead(stack: Stack, api: Api) -> tuple[Process, list[str], list[str]]:
    """A worker that runs jobs without end, and has claimed the next, as it believes them short."""
    worker = stack.worker(variant(stack, "lone"))
    await_ready(api, 1, "lone")
    for job in batch(api, "lone", [{"seconds": 0.05}] * 40):
        api.finished(job)
    running = batch(api, "lone", [{"do": "hang_once"}], timeout_s=600)
    log = SideLog(stack.side_log)
    until(lambda: hung(log, worker) == running, what="the worker hangs")
    # While its end is expected, the next batch is started behind it, and so charged as well.
    until(lambda: time.time() - log.by_job[running[0]][-1].began_wall > 1, what="it is overdue")
    claimed = batch(api, "lone", [{}] * 20)
    books = Books(stack, "lone")
    until(lambda: books.held() == 21, what="all jobs are in the worker's hands")
    return worker, running, claimed


def test_an_api_alone_brings_back_what_ran_and_what_was_only_claimed(stack: Stack) -> None:
    api, books = stack.api(), Books(stack, "lone")
    worker, running, claimed = busy_and_ahead(stack, api)
    # One batch may be running for the world although it is behind the one that hangs.
    begun = {job["id"] for job in told(api, running + claimed) if job["status"] == "running"}
    assert begun.issuperset(running)
    assert len(begun) <= 9
    worker.kill_tree()
    killed_at = time.monotonic()
    until(lambda: books.held() == 0, 2 * LIMIT_S, "nothing is held")
    took_s = time.monotonic() - killed_at
    (back,) = told(api, running)
    assert (back["status"], back["crashes"]) == ("queued", 1)
    worker.start()
    ended = [api.finished(job) for job in running + claimed]
    assert {job["status"] for job in ended} == {"succeeded"}
    assert {job["id"]: job["crashes"] for job in ended} == {
        job: int(job in begun) for job in running + claimed
    }
    passed = took_s <= LIMIT_S + SLACK_S
    report("adoption by an API alone", passed, jobs=len(ended), took_s=round(took_s, 2))
    assert passed


def test_under_the_same_name_a_worker_has_its_jobs_back_at_once(stack: Stack) -> None:
    api = stack.api()
    worker, running, claimed = busy_and_ahead(stack, api)
    worker.kill_tree()
    worker.start()
    ended = [api.finished(job) for job in running + claimed]
    assert {job["status"] for job in ended} == {"succeeded"}
    (again,) = events(worker, "worker_registered")[1:]
    log = SideLog(stack.side_log)
    log.poll()
    # Its model is loaded meanwhile: what counts is that nothing waits for the limit.
    assert again["adopted"] == len(ended)
    loaded = events(worker, "model_loaded")[-1]["timestamp"]
    began = max(log.by_job[job][-1].began_wall for job in running + claimed)
    waited_s = began - datetime.fromisoformat(loaded).timestamp()
    report("the same name again", waited_s <= SLACK_S, waited_s=round(waited_s, 2))
    assert waited_s <= SLACK_S


def test_jobs_of_a_killed_engine_run_again_a_second_after_the_model_is_there(stack: Stack) -> None:
    api = stack.api()
    worker, running, claimed = busy_and_ahead(stack, api)
    killed_at = time.time()
    os.kill(worker.engine(), signal.SIGKILL)
    ended = [api.finished(job) for job in running + claimed]
    assert {job["status"] for job in ended} == {"succeeded"}
    log = SideLog(stack.side_log)
    log.poll()
    spawned, loaded = (events(worker, name)[-1] for name in ("engine_spawned", "model_loaded"))
    at, there = (
        datetime.fromisoformat(each["timestamp"]).timestamp() for each in (spawned, loaded)
    )
    began = max(log.by_job[job][-1].began_wall for job in running + claimed)
    # The load is the time from the new process to a warm model, whatever it takes on this machine.
    waited_s = (began - killed_at) - (there - at)
    figures = {"load_s": round(there - at, 2), "waited_s": round(waited_s, 2)}
    report("engine killed", waited_s <= SLACK_S, **figures)
    assert waited_s <= SLACK_S
