"""The real engine process over a socketpair, with this test as its feeder."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from worker import wire
from worker.channel import feeder_unpacker, pack

ROOT = Path(__file__).parents[3]
PATIENCE_S = 30.0

HEAD = """
from pydantic import BaseModel

class Input(BaseModel):
    value: int = 1

class Output(BaseModel):
    value: float
"""

FATEFUL_HEAD = """
import os, time

class OutOfMemoryError(RuntimeError): ...
class Busy(Exception):
    retryable = True
"""
FATEFUL = """
max_batch = 8
def load(self, ctx):
    self.sizes = []
def prepare(self, input):
    if input.value == 13:
        raise ValueError("unlucky")
    return input.value
def predict(self, batch, ctx):
    if 66 in batch:
        raise ValueError("whole batch")
    if 77 in batch:
        raise Busy("later")
    if 88 in batch and len(batch) > 2:
        raise OutOfMemoryError("CUDA out of memory")
    if 99 in batch:
        raise OutOfMemoryError("CUDA out of memory")
    if 111 in batch:
        raise RuntimeError("CUDA error: an illegal memory access was encountered")
    return [ValueError("this one") if each == 55 else each for each in batch]
def finish(self, raw):
    if raw == 44:
        raise KeyError("finish")
    return {"value": float("nan") if raw == 33 else "x" if raw == 22 else raw}
"""


class Engine:
    """One engine process, what it has said, and how to talk to it."""

    def __init__(self, folder: Path, stderr: Path, **load: Any) -> None:
        self.socket, theirs = socket.socketpair()
        self.stderr = stderr
        with theirs, stderr.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-P", "-m", "worker.engine", "--fd", str(theirs.fileno())],
                pass_fds=[theirs.fileno()],
                env={**os.environ, "PYTHONPATH": str(ROOT)},
                stderr=log,
            )
        self.said: list[Any] = []
        #: by feed
        self.names: list[str] = []
        self._unpacker = feeder_unpacker()
        self._unread = 0
        #: answer Formed with Go for all of its jobs
        self.lenient = True
        self.send(wire.Load(str(folder), folder.name, "1", **load))

    def send(self, *frames: Any) -> None:
        """Frames to the engine."""
        self.socket.sendall(pack(frames))

    def submit(self, *values: Any, started: bool = False, **options: Any) -> list[str]:
        """Jobs with these values of input, named by their place."""
        names = [f"job_{each}" for each in range(len(values))]
        inputs = [
            each if isinstance(each, bytes) else json.dumps({"value": each}).encode()
            for each in values
        ]
        self.feed(*zip(names, inputs, strict=True), started=started, **options)
        return names

    def feed(self, *pairs: tuple[str, bytes], more: bool = False, **options: Any) -> None:
        """Jobs by name and input, each under a number of its own."""
        jobs = []
        for name, given in pairs:
            self.names.append(name)
            jobs.append(wire.EngineJob(name, len(self.names) - 1, given, **options))
        self.send(wire.Jobs(jobs, more=more))

    def number(self, name: str) -> int:
        """The number that a name was fed under last."""
        return len(self.names) - 1 - self.names[::-1].index(name)

    def named(self, numbers: list[int]) -> list[str]:
        """The names of what was fed under these numbers."""
        return [self.names[each] for each in numbers]

    def hear(self, patience_s: float = PATIENCE_S) -> bool:
        """Read once; False when the engine hung up."""
        self.socket.settimeout(patience_s)
        data = self.socket.recv(1 << 18)
        for frame in self._unpacker.feed(data):
            self.said.append(frame)
            if self.lenient and isinstance(frame, wire.Formed):
                self.send(wire.Go(frame.batch, frame.feeds))
        return bool(data)

    def until(self, true: Callable[[], Any]) -> Any:
        """Listen until this is true."""
        while not (answer := true()):
            assert self.hear(), f"hung up ({self.process.wait()}): {self.errors()}"
        return answer

    def first(self, kind: type) -> Any:
        """The first frame of a kind, also one to come."""
        return self.until(lambda: self.all(kind))[0]

    def all(self, kind: type) -> list[Any]:
        """What it has said of this kind."""
        return [each for each in self.said if isinstance(each, kind)]

    def quiet(self, kind: type, seconds: float) -> bool:
        """Whether no frame of this kind comes for a while."""
        before, end = len(self.all(kind)), time.monotonic() + seconds
        with contextlib.suppress(TimeoutError):
            while (left := end - time.monotonic()) > 0:
                self.hear(left)
        return len(self.all(kind)) == before

    @property
    def outcomes(self) -> dict[str, Any]:
        """Value or error of each job that has ended."""
        items = [item for done in self.all(wire.Done) for item in done.items]
        ended = {each.feed: each.error or json.loads(each.output or b"")["value"] for each in items}
        assert len(ended) == len(items), "a job ended twice"
        ended |= {each.feed: each.error for each in self.all(wire.Refused)}
        return {self.names[feed]: outcome for feed, outcome in sorted(ended.items())}

    def run(self, *values: Any, **options: Any) -> list[Any]:
        """Submit, and the outcomes in order."""
        names = self.submit(*values, **options)
        self.until(lambda: self.outcomes.keys() >= set(names))
        return [self.outcomes[each] for each in names]

    def exit(self) -> int:
        """Listen until it hangs up; its exit code."""
        with contextlib.suppress(ConnectionError):
            while self.hear():
                pass
        return self.process.wait(PATIENCE_S)

    def stop(self) -> int:
        """Ask it to stop; its exit code."""
        self.send(wire.Stop())
        return self.exit()

    def errors(self) -> str:
        """Its standard error so far."""
        return self.stderr.read_text()


@pytest.fixture
def spawn(tmp_path: Path) -> Iterator[Callable[..., Engine]]:
    """Start an engine on a model: the body of its class, and what stands above it."""
    engines: list[Engine] = []

    def start(body: str, head: str = "", **load: Any) -> Engine:
        folder = tmp_path / f"model{len(engines)}"
        folder.mkdir()
        text = f"{HEAD}\n{textwrap.dedent(head)}\nclass Model:\n"
        (folder / "model.py").write_text(text + textwrap.indent(textwrap.dedent(body), "    "))
        engines.append(Engine(folder, tmp_path / f"stderr{len(engines)}", **load))
        return engines[-1]

    yield start
    for each in engines:
        each.process.kill()
        each.process.wait()
        each.socket.close()


@pytest.fixture
def ready(spawn: Callable[..., Engine]) -> Callable[..., Engine]:
    """As spawn, and wait until it is loaded."""

    def start(body: str, head: str = "", **load: Any) -> Engine:
        engine = spawn(body, head, **load)
        engine.first(wire.Loaded)
        return engine

    return start


@pytest.fixture
def fateful(ready: Callable[..., Engine]) -> Callable[..., Engine]:
    """A model whose inputs name what shall go wrong with them."""

    def start(**load: Any) -> Engine:
        return ready(FATEFUL, FATEFUL_HEAD, **load)

    return start


@pytest.fixture
def engine(fateful: Callable[..., Engine]) -> Engine:
    """One such engine."""
    return fateful()
