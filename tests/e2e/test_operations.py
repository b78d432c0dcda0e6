"""What an operator uses: metrics, probes, a clean stop, and the command line."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from headrace.chaos.stack import Api, Process, Stack, free_port, until

from .folders import MODELS


@dataclass
class Running:
    """An API of two processes and one worker, with their ports for metrics and probes."""

    stack: Stack
    api: Api
    worker: Process
    api_metrics: str
    worker_port: str


@pytest.fixture(scope="module")
def running() -> Iterator[Running]:
    """Everything that a scraper and a prober look at."""
    with Stack() as stack:
        metrics, probes = str(free_port()), str(free_port())
        api = stack.api(api_workers="2", metrics_port=metrics)
        worker = stack.worker(MODELS / "actor", worker_port=probes, cancel_grace_s="2")
        api.ready("actor")
        base = "http://127.0.0.1:"
        yield Running(stack, api, worker, f"{base}{metrics}/metrics", f"{base}{probes}")


def figures(url: str) -> dict[str, float]:
    """Return every sample of a scrape by name and labels."""
    found = {}
    for line in httpx.get(url, timeout=10).text.splitlines():
        if line and not line.startswith("#"):
            name, _, value = line.rpartition(" ")
            found[name] = float(value)
    return found


def total(samples: dict[str, float], name: str, *labels: str) -> float:
    """Add up the samples of one name that have these labels."""
    return sum(
        value
        for key, value in samples.items()
        if re.split(r"[{ ]", key)[0] == name and all(label in key for label in labels)
    )


def settles(ask: Callable[[], object], wanted: object) -> None:
    """Wait for what is counted just after a client has heard of it."""
    told: list[object] = []

    def there() -> bool:
        told[:] = [ask()]
        return told == [wanted]

    with suppress(TimeoutError):
        until(there, 10)
    assert told == [wanted]


def test_counts_add_up_over_several_processes(running: Running) -> None:
    made = []
    for number in range(20):  # a new connection each time, so that both processes count
        given = {"input": {"name": str(number), "do": "raise" if number % 5 == 0 else "return"}}
        path = f"{running.api.url}/v1/models/actor/jobs"
        made.append(httpx.post(path, json=given, headers={"Prefer": "wait"}, timeout=30).json())

    def finished(*labels: str) -> float:
        both = {**figures(running.api_metrics), **figures(f"{running.worker_port}/metrics")}
        return total(both, "headrace_jobs_finished_total", *labels)

    settles(lambda: finished('model="actor"', 'status="succeeded"'), 16)
    settles(lambda: finished('status="failed"', 'code="model_error"'), 4)
    api, worker = figures(running.api_metrics), figures(f"{running.worker_port}/metrics")
    assert total(api, "headrace_jobs_submitted_total", 'model="actor"') == 20
    assert total({**worker, **api}, "headrace_workers_ready", 'model="actor"') == 1
    assert total(api, "headrace_redis_up") >= 1
    assert total(worker, "headrace_run_seconds_count") >= 16
    assert total(worker, "headrace_batch_size_count") >= 16


@pytest.mark.parametrize(
    "name",
    ["jobs_queued", "jobs_running", "queue_oldest_seconds", "backlog_seconds", "build_info"],
)
def test_gauges_of_the_queue_are_there(running: Running, name: str) -> None:
    samples = {**figures(running.api_metrics), **figures(f"{running.worker_port}/metrics")}
    assert [key for key in samples if key.startswith(f"headrace_{name}")]


def test_metrics_are_not_on_the_port_of_the_api(running: Running) -> None:
    assert running.api.status("/metrics") == 404


def test_probes_of_a_worker(running: Running) -> None:
    assert httpx.get(f"{running.worker_port}/livez").status_code == 200
    assert httpx.get(f"{running.worker_port}/healthz").status_code == 200


def test_a_worker_with_a_hung_engine_is_not_healthy(running: Running) -> None:
    engine = running.worker.engine()
    job = running.api.submit("actor", {"do": "stop"}, timeout_s=2)
    health = f"{running.worker_port}/healthz"
    until(lambda: httpx.get(health).status_code == 503, 10, f"engine {engine} is seen to hang")
    assert httpx.get(f"{running.worker_port}/livez").status_code == 200
    assert running.api.finished(job["id"], 40)["status"] == "timed_out"
    until(lambda: httpx.get(health).status_code == 200, 20)


def test_a_stopped_worker_ends_its_batch_and_hands_the_rest_back(
    running: Running, tmp_path: Path
) -> None:
    gate, worker = tmp_path / "gate", running.worker
    given = [{"gate": str(gate)}, *({"name": str(n)} for n in range(3))]
    jobs = [running.api.submit("actor", each) for each in given]
    running.api.reaches(jobs[0]["id"], "running")
    worker.signal(signal.SIGTERM)
    until(lambda: httpx.get(f"{running.worker_port}/livez").status_code == 503, 20, "it drains")
    gate.touch()
    until(lambda: worker.exit_code is not None, 20, "it has ended")
    assert worker.exit_code == 0
    first, last = running.api.get(jobs[0]["id"]), running.api.get(jobs[-1]["id"])
    assert first["status"] == "succeeded"
    assert (last["status"], last["crashes"]) == ("queued", 0)
    running.worker = running.stack.worker(MODELS / "actor")
    ended = [running.api.finished(job["id"], 40) for job in jobs]
    assert {(job["status"], job["attempt"]) for job in ended} == {("succeeded", 1)}


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (["submit", "actor", '{"name": "a"}', "--wait"], 0, '"a"'),
        (["submit", "actor", '{"do": "raise"}', "--wait"], 1, "told to fail"),
        (["submit", "actor", '{"do": "dance"}'], 2, "do"),
        (["submit", "nothing", "{}"], 2, "nothing"),
        (["submit", "actor", "not json"], 2, "JSON"),
        (["jobs", "get", "job_" + "0" * 29], 2, "job"),
        (["models", "ls"], 0, "actor"),
    ],
)
def test_commands_end_as_they_promise(
    running: Running, words: list[str], code: int, said: str
) -> None:
    done = running.stack.run("cli", "headrace", *words, "--url", running.api.url)
    until(lambda: done.exit_code is not None, 40)
    assert done.exit_code == code, done.said()
    assert said in done.said()


def test_a_command_without_a_server_ends_with_three(running: Running) -> None:
    url = f"http://127.0.0.1:{free_port()}"
    done = running.stack.run("cli", "headrace", "jobs", "ls", "--url", url)
    until(lambda: done.exit_code is not None, 40)
    assert done.exit_code == 3, done.said()


def test_jobs_as_json(running: Running) -> None:
    done = running.stack.run("cli", "headrace", "jobs", "ls", "--json", "--url", running.api.url)
    until(lambda: done.exit_code is not None, 40)
    assert {job["model"] for job in json.loads(done.said())} == {"actor"}


def test_logs_are_json_and_name_the_job(running: Running) -> None:
    job = running.api.run("actor", {"do": "raise"})

    def said() -> list[dict[str, Any]]:
        # The last line may still be on its way.
        whole = running.worker.said().rpartition("\n")[0]
        lines = [json.loads(line) for line in whole.splitlines()]
        return [line for line in lines if line.get("job_id") == job["id"]]

    # It is written just after a client has heard of the end.
    about = until(said, 10, "a line about the job")
    assert all(line["model"] == "actor" and line["worker"] for line in about)


def test_the_api_stops_cleanly(running: Running) -> None:
    running.api.process.signal(signal.SIGTERM)
    until(lambda: running.api.process.exit_code is not None, 20)
    assert running.api.process.exit_code == 0
