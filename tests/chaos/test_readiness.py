"""Ready means that a job can run now: what probes are told while models work, hang and die."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

import httpx
import pytest

from headrace.chaos.process import Process, alive, free_port, until
from headrace.chaos.stack import CHAOS_MODEL, Api, Stack

from .sizes import FULL, report

POLL_S = 0.2
#: seconds that a probe waits for its answer
PATIENCE_S = 3.0
#: seconds in which an idle engine is asked for a kernel, has to answer, and is looked at
PROBE_S = 5.0 + 5.0 + 1.0
#: seconds beyond its limit until a hung engine is known to be
GRACE_S = 5.0
#: a predict of ten minutes, scaled
LONG_S = 600.0 if FULL else 20.0


@dataclass
class Watch:
    """Asks one address for its health again and again, as a prober does."""

    url: str
    #: when it was asked, and what it answered: 0 where nobody did
    seen: list[tuple[float, int]] = field(default_factory=list)
    reasons: set[str] = field(default_factory=set)
    _end: threading.Event = field(default_factory=threading.Event)

    def __enter__(self) -> Self:
        self._thread = threading.Thread(target=self._run)
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _run(self) -> None:
        with httpx.Client(timeout=PATIENCE_S) as http:
            while not self._end.wait(POLL_S):
                at = time.monotonic()
                try:
                    answer = http.get(self.url)
                except httpx.TransportError:
                    self.seen.append((at, 0))
                    continue
                self.seen.append((at, answer.status_code))
                if answer.status_code != 200:
                    self.reasons.add(answer.text)

    def turns(self, since: float, *, ready: bool, seconds: float) -> float:
        """Wait until it is (not) ready; the seconds that this took."""

        def found() -> float | None:
            later = [at for at, status in self.seen if at >= since and (status == 200) is ready]
            return later[0] if later else None

        return (until(found, seconds, f"{self.url} ready: {ready}") or since) - since

    def unready(self, since: float, end: float) -> list[tuple[float, int]]:
        """The answers in this time that were not 200."""
        return [(at, status) for at, status in self.seen if since <= at <= end and status != 200]


class Line:
    """An API and a worker, and who asks both how they are."""

    def __init__(self, stack: Stack, model: Path = CHAOS_MODEL, **settings: str) -> None:
        self.port = str(free_port())
        self.api: Api = stack.api(**settings)
        self.worker: Process = stack.worker(model, worker_port=self.port, **settings)
        self.at_worker = Watch(f"http://127.0.0.1:{self.port}/healthz")
        self.at_api = Watch(f"{self.api.url}/healthz?model={model.name}")

    def __enter__(self) -> Self:
        self.at_worker.__enter__()
        self.at_api.__enter__()
        return self

    def __exit__(self, *_: object) -> None:
        self.at_worker.__exit__()
        self.at_api.__exit__()

    def turns(self, since: float, *, ready: bool, seconds: float) -> tuple[float, float]:
        """Wait until both say so; the seconds that it took each."""
        return (
            self.at_worker.turns(since, ready=ready, seconds=seconds),
            self.at_api.turns(since, ready=ready, seconds=seconds),
        )


@pytest.fixture
def line(stack: Stack) -> Callable[..., Line]:
    """`line(**settings)`: a worker with the chaos model, once it is ready."""

    def start(**settings: str) -> Line:
        made = Line(stack, **settings)
        made.at_api.url = made.at_api.url.replace("=model", "=chaos")
        made.api.ready("chaos")
        return made

    return start


def test_a_long_predict_inside_its_limit_is_ready_all_along(line: Callable[..., Line]) -> None:
    with line() as running:
        job = running.api.submit("chaos", {"seconds": LONG_S}, timeout_s=2 * LONG_S)
        running.api.reaches(job["id"], "running")
        began = time.monotonic()
        done = running.api.finished(job["id"], LONG_S + 60)
        end = time.monotonic()
        told = [watch.unready(began, end) for watch in (running.at_worker, running.at_api)]
        polls = [len(watch.seen) for watch in (running.at_worker, running.at_api)]
    report("readiness", told == [[], []], case="long predict", seconds=LONG_S, polls=polls)
    assert done["status"] == "succeeded"
    assert told == [[], []]
    assert min(polls) > LONG_S / PATIENCE_S


def test_a_hung_predict_is_unready_within_its_limit_and_ready_again_after_its_kill(
    line: Callable[..., Line],
) -> None:
    limit_s = 3.0
    with line(cancel_grace_s="10") as running:
        job = running.api.submit("chaos", {"do": "hang"}, timeout_s=limit_s)
        running.api.reaches(job["id"], "running")
        began = time.monotonic()
        unready = running.turns(began, ready=False, seconds=30)
        early = running.at_worker.unready(began, began + limit_s - 1.0)
        again = running.turns(time.monotonic(), ready=True, seconds=60)
        done = running.api.finished(job["id"])
    report(
        "readiness", max(unready) < limit_s + GRACE_S, case="hung predict", limit_s=limit_s,
        unready_after_s=[round(each, 1) for each in unready],
        ready_after_s=[round(each, 1) for each in again],
    )  # fmt: skip
    assert max(unready) < limit_s + GRACE_S
    assert early == []
    assert done["status"] == "timed_out"


@pytest.mark.timeout(150)
def test_an_idle_engine_that_hangs_is_unready_killed_and_ready_again(
    line: Callable[..., Line],
) -> None:
    with line() as running:
        engine = running.worker.engine()
        os.kill(engine, signal.SIGSTOP)
        began = time.monotonic()
        unready = running.turns(began, ready=False, seconds=60)
        # Accepted all the same; no engine gets it that could not run it.
        job = running.api.submit("chaos", {"n": 1})
        until(lambda: not alive(engine), 60, "the hung engine is killed")
        killed_s = time.monotonic() - began
        again = running.turns(time.monotonic(), ready=True, seconds=60)
        done = running.api.finished(job["id"])
    report(
        "readiness", max(unready) < PROBE_S + GRACE_S, case="idle engine hangs",
        unready_after_s=[round(each, 1) for each in unready], killed_after_s=round(killed_s, 1),
        ready_after_s=[round(each, 1) for each in again],
    )  # fmt: skip
    assert max(unready) < PROBE_S + GRACE_S
    assert any("no kernel has run" in reason for reason in running.at_worker.reasons)
    assert (done["status"], done["crashes"]) == ("succeeded", 0)


def test_a_frozen_worker_is_unready_within_its_beat_limit_and_ready_when_it_wakes(
    line: Callable[..., Line],
) -> None:
    limit_s = 3.0
    with line(beat_limit_s=str(limit_s)) as running:
        running.worker.signal(signal.SIGSTOP)
        began = time.monotonic()
        unready = running.turns(began, ready=False, seconds=30)
        running.worker.signal(signal.SIGCONT)
        again = running.turns(time.monotonic(), ready=True, seconds=60)
        done = running.api.run("chaos", {"n": 1})
    report(
        "readiness", unready[1] < limit_s + GRACE_S, case="frozen worker", limit_s=limit_s,
        unready_after_s=[round(each, 1) for each in unready],
        ready_after_s=[round(each, 1) for each in again],
    )  # fmt: skip
    assert max(unready) < limit_s + GRACE_S
    assert done["status"] == "succeeded"


DIES = """
import os
from pydantic import BaseModel

class Input(BaseModel):
    n: int = 0

class Output(Input): ...

class Model:
    def load(self, ctx):
        {how}

    def predict(self, batch, ctx):
        return batch
"""


@pytest.mark.parametrize(
    ("how", "why"),
    [
        ("os._exit(4)", "exit_4"),
        ("os.abort()", "sigabrt"),
        ("raise OSError('no weights here')", "no weights here"),
        ("raise RuntimeError('CUDA error: no kernel image is available')", "no kernel image"),
    ],
)
def test_an_engine_that_dies_at_load_is_failed_with_the_reason(
    stack: Stack, tmp_path: Path, how: str, why: str
) -> None:
    folder = tmp_path / "dies"
    folder.mkdir()
    (folder / "model.py").write_text(DIES.format(how=how))
    running = Line(stack, folder)

    def told() -> dict[str, Any] | None:
        try:
            answer = httpx.get(running.at_worker.url, timeout=PATIENCE_S)
        except httpx.TransportError:
            return None
        return answer.json() if answer.json()["state"] == "failed" else None

    health = until(told, 60, "the worker says that it has failed") or {}
    card = until(
        lambda: next(
            (
                each
                for each in running.api.call("GET", "/v1/models").json()["data"]
                if each["state"] == "failed"
            ),
            None,
        ),
        30,
        "the API says so too",
    )
    report("readiness", why in health["reason"], case="dies at load", how=how)
    assert why in health["reason"]
    assert card is not None
    assert why in card["reason"]
    assert running.api.status("/healthz?model=dies") == 503
