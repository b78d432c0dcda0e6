"""A model gets another version, goes back, and forward again, under load: no job is left behind."""

from __future__ import annotations

import asyncio
import random
import shutil
import threading
import time
from collections.abc import Collection
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from headrace.chaos.client import Client
from headrace.chaos.ledger import Ledger
from headrace.chaos.stack import CHAOS_MODEL, Api, Process, Stack, until
from jobs.audit import audit
from jobs.connection import RedisConnections
from jobs.policy import QueueOptions

from .sizes import report, seed
from .workers import await_ready, worker_of

MODEL = "chaos"
BEAT_LIMIT_S = 3.0
#: jobs that named no version and are not final, at any time: more than a worker takes at once
OPEN_JOBS = 40
#: of so many submits one names its version
PINNED = 10


def version(stack: Stack, name: str) -> Path:
    """Return the folder of a version of the model."""
    folder = stack.folder / f"version-{name}"
    shutil.copytree(CHAOS_MODEL, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "model.toml").write_text(f'name = "{MODEL}"\nversion = "{name}"\n')
    return folder


class Load(threading.Thread):
    """Keeps a backlog of jobs that named no version, and now and then names one."""

    def __init__(self, client: Client, rng: random.Random) -> None:
        super().__init__(name="load", daemon=True)
        self._client = client
        self._rng = rng
        self._numbers = count()
        self._over = threading.Event()
        #: job -> the version that its submit named
        self.pinned: dict[str, str] = {}
        #: versions that some worker has served until now
        self.known = {"1"}
        self.failure: Exception | None = None

    def run(self) -> None:
        try:
            while not self._over.is_set():
                self._client.read_once()
                open_jobs = {*self._client.ledger.open()} - self.pinned.keys()
                for _ in range(OPEN_JOBS - len(open_jobs)):
                    self._submit(next(self._numbers))
                time.sleep(0.05)
        except Exception as error:  # noqa: BLE001 - told to the test, which fails with it
            self.failure = error

    def _submit(self, number: int) -> None:
        pin = self._rng.choice(sorted(self.known)) if number % PINNED == 0 else ""
        given = {"n": number, "seconds": round(self._rng.uniform(0.01, 0.4), 3)}
        target = f"{MODEL}@{pin}" if pin else MODEL
        job = self._client.submit(target, given, number)
        if pin:
            self.pinned[job["id"]] = pin

    def stop(self) -> None:
        self._over.set()
        self.join(60)
        if self.failure:
            raise self.failure


def settled(client: Client, load: Load, seconds: float = 60) -> None:
    """Wait until each job of this moment that named no version has ended."""
    asked = {*client.ledger.open()} - load.pinned.keys()
    until(lambda: not asked & {*client.ledger.open()} or load.failure, seconds, "they have ended")


def shown(api: Api, ids: Collection[str]) -> list[dict[str, Any]]:
    """Read jobs as they are now."""
    wanted = sorted(ids)
    found: list[dict[str, Any]] = []
    for start in range(0, len(wanted), 100):
        asked = ",".join(wanted[start : start + 100])
        found += api.call("GET", "/v1/jobs", params={"ids": asked, "limit": 100}).json()["data"]
    return found


async def findings(stack: Stack) -> list[Any]:
    options = QueueOptions(beat_limit_s=BEAT_LIMIT_S)
    async with RedisConnections(stack.redis_url) as connections:
        return await audit(connections, options)


@pytest.mark.timeout(240)
def test_what_named_no_version_follows_and_what_did_waits() -> None:
    drawn = seed()
    with Stack(beat_limit_s=f"{BEAT_LIMIT_S:g}") as stack:
        apis = [stack.api() for _ in range(2)]
        first, second = version(stack, "1"), version(stack, "2")
        # Longer than any job: what has begun ends where it began.
        old = worker_of(stack, "of-1", first, drain_s="5")
        await_ready(apis[0], 1, f"{MODEL}@1")
        client = Client(apis, Ledger(stack.folder / "ledger.jsonl"))
        load = Load(client, random.Random(drawn))
        load.start()
        until(lambda: client.ledger.done > 20, 60, "jobs run")

        # As a Deployment without room for a second pod: the old one goes, then the new one comes.
        assert old.stop(30) == 0
        new = worker_of(stack, "of-2", second, drain_s="5")
        await_ready(apis[0], 1, f"{MODEL}@2")
        load.known.add("2")
        settled(client, load)
        waiting = shown(apis[0], [each for each, pin in load.pinned.items() if pin == "1"])
        open_jobs = [job for job in waiting if job["status"] == "queued"]
        assert open_jobs, "nobody named the first version while nobody served it"
        assert {job["version"] for job in open_jobs} == {"1"}

        # The new one dies with jobs in its hands, and the old one comes back.
        new.kill_tree()
        old = worker_of(stack, "of-1", first, drain_s="5")
        await_ready(apis[0], 1, f"{MODEL}@1")
        settled(client, load)

        # The new one comes beside it; then the old one goes.
        new = worker_of(stack, "of-2", second, drain_s="5")
        await_ready(apis[0], 1, f"{MODEL}@2")
        assert old.stop(30) == 0
        settled(client, load)

        load.stop()
        judge(stack, apis, client, load, [new, worker_of(stack, "of-1", first)], drawn)


@pytest.mark.timeout(120)
def test_an_input_that_the_new_version_refuses_fails_with_what_is_wrong(stack: Stack) -> None:
    api = stack.api()
    first, second = version(stack, "1"), version(stack, "2")
    code = (second / "model.py").read_text()
    without = code.replace('    pad: str = ""\n', "")
    assert without != code
    (second / "model.py").write_text(without)
    old = worker_of(stack, "of-1", first)
    await_ready(api, 1, f"{MODEL}@1")
    assert old.stop() == 0
    good = api.submit(MODEL, {"n": 1})
    refused = api.submit(MODEL, {"n": 2, "pad": "x"})
    worker_of(stack, "of-2", second)
    assert api.finished(good["id"])["status"] == "succeeded"
    job = api.finished(refused["id"])
    assert (job["status"], job["version"]) == ("failed", "2"), job
    assert job["error"]["code"] == "invalid_input"
    assert "pad" in str(job["error"]["errors"])


@pytest.mark.timeout(120)
def test_a_version_kept_for_who_pins_it_runs_that_alone(stack: Stack) -> None:
    api = stack.api()
    first, second = version(stack, "1"), version(stack, "2")
    old = worker_of(stack, "of-1", first)
    await_ready(api, 1, f"{MODEL}@1")
    assert old.stop() == 0
    body = {"inputs": [{"n": 1}, {"n": 2}]}
    answer = api.call("POST", f"/v1/models/{MODEL}@1/jobs/batch", json=body)
    pinned = [job["id"] for job in answer.json()["jobs"]]
    worker_of(stack, "of-2", second)
    assert api.run(MODEL, {"n": 3})["version"] == "2"
    assert {job["status"] for job in shown(api, pinned)} == {"queued"}
    # The API hears of another version in production a moment after it has one.
    until(lambda: scales(api) == [(0, 0), (2, 1)], 10, "only the first version is wanted")
    worker_of(stack, "kept", first, pinned_only="true")
    ended = [api.finished(job) for job in pinned]
    assert {(job["status"], job["version"]) for job in ended} == {("succeeded", "1")}
    # Although the one that is kept has loaded last.
    assert api.run(MODEL, {"n": 4})["version"] == "2"
    until(lambda: scales(api) == [(0, 0), (0, 0)], 10, "nobody is wanted")


def scales(api: Api) -> list[tuple[int, int]]:
    """How many jobs wait and how many workers are wanted: of the model, of its first version."""
    targets = (MODEL, f"{MODEL}@1")
    found = [api.call("GET", f"/v1/models/{target}/scale").json() for target in targets]
    return [(each["queued"], each["wanted"]) for each in found]


def judge(
    stack: Stack, apis: list[Api], client: Client, load: Load, workers: list[Process], drawn: int
) -> None:
    """With both versions served, all must end, each where it may."""
    client.read_all(60)
    verdict = client.ledger.verdict()
    jobs = shown(apis[1], client.ledger.everything())
    astray = [
        job
        for job in jobs
        if job["version"] != load.pinned.get(job["id"], job["version"])
        or job["metrics"]["worker"] != f"of-{job['version']}"
    ]
    ran = {job["version"]: 0 for job in jobs}
    for job in jobs:
        ran[job["version"]] += 1
    crashed = sum(job["crashes"] > 0 for job in jobs)
    for worker in workers:
        assert worker.stop(30) == 0
    wrong = asyncio.run(findings(stack))
    ends = {"succeeded": len(jobs)}
    passed = verdict["statuses"] == ends and not (verdict["lost"] or astray or wrong)
    report(
        "versions",
        passed,
        seed=drawn,
        jobs=len(jobs),
        pinned=len(load.pinned),
        ran_by=ran,
        crashed=crashed,
        lost=verdict["lost"],
        two_outcomes=verdict["two_outcomes"],
        astray=len(astray),
    )
    assert verdict["statuses"] == ends, verdict
    assert not verdict["lost"] + verdict["two_outcomes"], verdict
    assert len(jobs) == len(client.ledger.accepted)
    assert not astray, astray[:5]
    assert wrong == []
