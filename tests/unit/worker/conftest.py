"""A worker's shared parts with an engine, a queue and a clock that obey the test."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import pytest
import uvloop

from jobs.errors import QueueUnavailable
from jobs.states import Priority
from jobs.worker_queue import BeatAnswer, Claimed, HandBack, Outcome
from telemetry.exposition import Exposition
from worker.engine_handle import EngineState
from worker.holding import Batch, Held, Phase
from worker.learned import Learned
from worker.rules import ModelLimits, Rules
from worker.station import Station
from worker.timing import BusyShare, Timing


def pytest_asyncio_loop_factories(config: object, item: object) -> dict[str, Any]:
    """The loop that a worker runs on: it differs where a connection has ended."""
    return {"uvloop": uvloop.new_event_loop}


class Queue:
    """Answers as it is told, and writes down what it was asked."""

    def __init__(self) -> None:
        self.life = "w:1"
        self.away = 0
        self.verdicts: dict[str, str] = {}
        self.calls: list[tuple[str, Any]] = []
        self.answer = BeatAnswer()
        #: starts are answered once this is set
        self.open = asyncio.Event()
        self.open.set()

    def _called(self, name: str, what: Any) -> None:
        if self.away:
            self.away -= 1
            raise QueueUnavailable("away")
        self.calls.append((name, what))

    def asked(self, name: str) -> list[Any]:
        return [what for called, what in self.calls if called == name]

    async def start(self, jobs: Sequence[Claimed]) -> dict[str, str]:
        self._called("start", [job.id for job in jobs])
        await self.open.wait()
        return {job.id: self.verdicts.get(job.id, "ok") for job in jobs}

    async def settle(self, outcomes: Sequence[Outcome]) -> dict[str, str]:
        self._called("settle", [(each.id, each.kind) for each in outcomes])
        return {each.id: self.verdicts.get(each.id, "ok") for each in outcomes}

    async def hand_back(self, jobs: Sequence[HandBack]) -> dict[str, str]:
        self._called("hand_back", [(each.id, each.charge) for each in jobs])
        return {each.id: self.verdicts.get(each.id, "ok") for each in jobs}

    async def progress(self, jobs: Sequence[tuple[str, str, bytes]]) -> None:
        self._called("progress", list(jobs))

    async def beat(self, held: Iterable[str], **told: Any) -> BeatAnswer:
        self._called("beat", (list(held), told["state"]))
        return self.answer

    async def register(self, info: dict[str, str]) -> list[Any]:
        self._called("register", info)
        return []

    async def leave(self) -> int:
        self._called("leave", None)
        return 0


class Engine:
    """Ready, and writes down what it is told."""

    def __init__(self) -> None:
        self.state = EngineState.READY
        self.reason = ""
        self.life = 1
        self.dying = False
        self.sent: list[Any] = []
        self.kills: list[str] = []

    @property
    def ready(self) -> bool:
        return self.state is EngineState.READY and not self.dying

    def send(self, *frames: Any) -> None:
        self.sent += frames

    def proved_good(self) -> None:
        pass

    def kill(self, reason: str) -> None:
        self.kills.append(reason)
        self.dying = True


class Clock:
    """Seconds that pass when told."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def station(clock: Clock) -> Station:
    made = Station(
        model="m",
        version="1",
        name="w",
        queue=Queue(),
        engine=Engine(),
        metrics=Exposition().metrics,
        rules=Rules(
            max_attempts=3, max_result_bytes=100, cancel_grace_s=5, beat_limit_s=10, drain_s=30
        ),
        learned=Learned(),
        timing=Timing(load_s=3.0),
        busy=BusyShare(clock.now),
        limits=ModelLimits(timeout_s=300.0),
        clock=clock,
        kernel_ran_at=clock.now,
        heard_at=clock.now,
    )
    return made


def _hold(station: Station, identifier: str, phase: Phase, **given: Any) -> Held:
    job = Claimed(
        id=identifier,
        token="t",
        input=b"{}",
        tenant=given.get("tenant", "default"),
        priority=Priority.NORMAL,
        attempt=1,
        crashes=0,
        timeout_s=given.get("timeout_s", 30.0),
        deadline_at=None,
        request_id=None,
        created_at=0,
        started=given.get("started", False),
    )
    return station.holding.add(job, phase, station.clock())


def _run(
    station: Station, *identifiers: str, expected_s: float | None = None, **given: Any
) -> None:
    held = [_hold(station, each, Phase.ON_GPU, **given) for each in identifiers]
    now = station.clock()
    batch = Batch(1, [each.feed for each in held], len(held), now, now, expected_s)
    station.holding.batches[1] = station.holding.on_gpu = batch


@pytest.fixture
def hold(station: Station) -> Callable[..., Held]:
    """`hold(id, phase)`: a job in the worker's hands."""
    return functools.partial(_hold, station)


@pytest.fixture
def run(station: Station) -> Callable[..., None]:
    """`run(*ids)`: jobs on the GPU as one batch from now."""
    return functools.partial(_run, station)
