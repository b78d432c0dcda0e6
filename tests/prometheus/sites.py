"""One installation that may be broken: real processes, and the clients that keep it busy."""

from __future__ import annotations

import contextlib
import shutil
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import httpx

from headrace.chaos.stack import Api, Process, Stack, free_port, until

from .lookout import Lookout

MODEL = Path(__file__).parent / "models" / "acting"
#: Jobs in a call: one with many more may take a second on a slow machine, which is an alert.
_TOGETHER = 100

#: What goes on for a while, and the statuses of its answers.
Stream = AbstractContextManager[list[int]]


class Site:
    """A stack in a namespace of its own; each of its processes is scraped once it answers."""

    def __init__(
        self, name: str, lookout: Lookout, redis_args: Sequence[str] = (), **settings: str
    ) -> None:
        self.name = name
        self.lookout = lookout
        given = {"webhook_allow": "127.0.0.0/8", "cancel_grace_s": "1", **settings}
        self.stack = Stack(redis_args=redis_args, **given)
        self.gates = self.stack.folder / "gates"
        self.apis: list[Api] = []

    def __enter__(self) -> Self:
        self.gates.mkdir()
        self.stack.__enter__()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        # What is stopped on purpose is no target any more, as with pods.
        self.lookout.forget(self.name)
        self.stack.__exit__(kind, error, trace)

    def tells(self, alert: str, **where: str) -> AbstractContextManager[Callable[[], None]]:
        """Around a fault of this installation; see Lookout."""
        return self.lookout.tells(alert, namespace=self.name, **where)

    def api(self, **settings: str) -> Api:
        """Start an API."""
        port = free_port()
        self.apis.append(self.stack.api(metrics_port=str(port), **settings))
        self.lookout.scrape("api", self.name, port)
        return self.apis[-1]

    def model(self, name: str, version: str = "1") -> Path:
        """Return the folder of the model under a name."""
        folder = self.stack.folder / "models" / f"{name}-{version}"
        if not folder.exists():
            shutil.copytree(MODEL, folder, ignore=shutil.ignore_patterns("__pycache__"))
            (folder / "model.toml").write_text(f'name = "{name}"\nversion = "{version}"\n')
        return folder

    def worker(
        self, name: str, *, environment: dict[str, str] | None = None, **more: str
    ) -> Worker:
        """Start a worker of a model, and wait until it is ready."""
        port = free_port()
        own = {"worker_port": str(port), "worker_name": f"w{port}"}
        own["data_dir"] = str(self.stack.folder / own["worker_name"])
        given = {"ALERTS_GATES": str(self.gates), **(environment or {})}
        folder = self.model(name)
        process = self.stack.worker(folder, environment=given, **{**own, **more})
        worker = Worker(process, port)
        worker.ready()
        # An API hears of a new model a moment later.
        knows = [partial(api.call, "GET", f"/v1/models/{name}") for api in self.apis]
        until(lambda: all(ask().status_code == 200 for ask in knows), 60, f"{name} is known")
        self.lookout.scrape("worker", self.name, port)
        return worker

    def retire(self, worker: Worker) -> None:
        """Stop a worker for good; Prometheus forgets it before, as it does with a pod."""
        self.lookout.forget(self.name, worker.port)
        worker.process.stop()

    def publish(self, name: str, version: str = "1") -> None:
        """Make a model known that nobody serves."""
        environment = {"ALERTS_GATES": str(self.gates)}
        environment["HEADRACE_REDIS_URL"] = self.stack.redis_url
        folder = str(self.model(name, version))
        command = [sys.executable, "-P", "-m", "worker", "--publish-cards", folder]
        process = self.stack.process("cards", command, environment).start()
        until(lambda: not process.running, 60, "the card is published")
        assert process.exit_code == 0, process.said()

    def sends(self, *parts: str, **settings: str) -> None:
        """Start parts of what tells receivers."""
        for part in parts:
            port = free_port()
            self.stack.webhooks(part, metrics_port=str(port), **settings)
            until(lambda port=port: _status(port, "/livez") == 200, 60, part)
            self.lookout.scrape("webhooks", self.name, port)

    def post(self, model: str, count: int, given: dict[str, Any], **options: Any) -> list[str]:
        """Submit so many alike; return their ids."""
        ids: list[str] = []
        while len(ids) < count:
            inputs = [given] * min(_TOGETHER, count - len(ids))
            body = {"inputs": inputs, **options}
            answer = self.apis[0].call("POST", f"/v1/models/{model}/jobs/batch", json=body)
            assert answer.status_code == 202, answer.text
            ids += [job["id"] for job in answer.json()["jobs"]]
        return ids

    @contextmanager
    def held(self, model: str, gate: str, count: int = 1) -> Iterator[list[str]]:
        """Keep a worker busy with jobs that end only when this ends."""
        jobs = self.post(model, count, {"gate": gate})
        try:
            for job in jobs:
                self.apis[0].reaches(job, "running", 60)
            yield jobs
        finally:
            self.open(gate)

    def open(self, gate: str) -> None:
        """Let jobs end that wait at a gate."""
        (self.gates / gate).touch()

    @contextmanager
    def stream(self, act: Callable[[int], httpx.Response], per_s: float) -> Iterator[list[int]]:
        """Go on doing something at most so often meanwhile; the list has the statuses."""
        answers: list[int] = []
        stop = threading.Event()

        def go_on() -> None:
            number = 0
            while not stop.wait(1 / per_s):
                # One call at a time: what holds it up is one slow request and no more.
                with contextlib.suppress(httpx.TransportError):
                    answers.append(act(number).status_code)
                number += 1

        thread = threading.Thread(target=go_on, name=f"stream-{self.name}")
        thread.start()
        try:
            yield answers
        finally:
            stop.set()
            thread.join()

    def jobs(self, model: str, given: dict[str, Any], per_s: float, **options: Any) -> Stream:
        """Submit to the APIs in turn, again and again."""

        def submit(number: int) -> httpx.Response:
            api = self.apis[number % len(self.apis)]
            return api.post(model, given, **options)

        return self.stream(submit, per_s)

    def reads(self, api: Api, per_s: float = 20) -> Stream:
        """Ask an API for its jobs, again and again."""
        return self.stream(lambda _: api.call("GET", "/v1/jobs", params={"limit": 1}), per_s)


class Worker:
    """A worker and where it answers."""

    def __init__(self, process: Process, port: int) -> None:
        self.process, self.port = process, port

    @property
    def instance(self) -> str:
        """As Prometheus calls it."""
        return f"127.0.0.1:{self.port}"

    def ready(self) -> None:
        """Wait until it can run jobs."""

        def answers() -> bool:
            assert self.process.running, self.process.said()
            return _status(self.port, "/healthz") == 200

        until(answers, 90, "a worker is ready")


def _status(port: int, path: str) -> int:
    try:
        return httpx.get(f"http://127.0.0.1:{port}{path}", timeout=5).status_code
    except httpx.TransportError:
        return 0
