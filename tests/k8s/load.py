"""Clients that give nothing a second try: a call that fails is written down as failed."""

from __future__ import annotations

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Any, Self

import httpx

from headrace.chaos.receiver import Receiver

FINAL = {"succeeded", "failed", "canceled", "expired", "timed_out"}
_PAUSE_S = 0.1


class Load:
    """Submits, waits and polls of `model` over one Service, and waits held open on `idle`.

    `idle` is a model without a worker: a wait for its job ends only when the API lets it go.
    """

    def __init__(
        self, connect: Callable[..., httpx.Client], receiver: Receiver, model: str, idle: str
    ) -> None:
        #: job -> how it ended
        self.ended: dict[str, str] = {}
        self.failures: list[str] = []
        self.calls = 0
        #: waits that were let go before their time, as they are when an API goes
        self.released = 0
        self._connect = connect
        self._receiver = receiver
        self._path, self._idle_path = (f"/v1/models/{each}/jobs" for each in (model, idle))
        self._stop = threading.Event()
        self._lock = threading.Lock()
        parts = [self._wait, self._wait, self._poll, self._connect_anew, *[self._hold] * 3]
        self._threads = [threading.Thread(target=self._part, args=(part,)) for part in parts]
        self._held = ""

    def __enter__(self) -> Self:
        with self._connect() as client:
            self._held = client.post(self._idle_path, json={"input": {}}).json()["id"]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        with self._connect() as client:
            client.post(f"/v1/jobs/{self._held}/cancel")
        for thread in self._threads:
            thread.join()

    def untold(self) -> list[str]:
        """Return the jobs of whose end the receiver was not told, or under more than one id."""
        heard: defaultdict[str, list[str]] = defaultdict(list)
        for _, job, status in self._receiver.events.copy().values():
            heard[job].append(status)
        return [f"{job}: {heard[job]}" for job, end in self.ended.items() if heard[job] != [end]]

    def _part(self, part: Callable[[], None]) -> None:
        try:
            part()
        except Exception as error:  # noqa: BLE001 - a client that has died is a failure, too
            self._fail(repr(error))

    def _fail(self, why: str) -> None:
        with self._lock:
            self.failures.append(f"{time.strftime('%X')} {why}")

    def _call(
        self, client: httpx.Client, method: str, path: str, **given: Any
    ) -> dict[str, Any] | None:
        """Call once; None where that failed."""
        with self._lock:
            self.calls += 1
        try:
            answer = client.request(method, path, **given)
        except httpx.TransportError as error:
            self._fail(f"{method} {path}: {error!r}")
            return None
        if answer.status_code not in (200, 202):
            self._fail(f"{method} {path}: {answer.status_code} {answer.text}")
            return None
        return dict(answer.json())

    def _submit(self, client: httpx.Client, **headers: str) -> dict[str, Any] | None:
        body = {"input": {"seconds": 0.05}, "webhook": self._receiver.webhook()}
        return self._call(client, "POST", self._path, json=body, headers=headers)

    def _follow(self, client: httpx.Client, job: dict[str, Any] | None, wait_s: int) -> None:
        """Ask until it has ended; a failed call is repeated, so that no job goes missing."""
        while job is not None and job["status"] not in FINAL:
            found = self._call(client, "GET", f"/v1/jobs/{job['id']}", params={"wait": wait_s})
            job = found or job
            if not wait_s:
                time.sleep(_PAUSE_S)
        if job is not None:
            self.ended[job["id"]] = job["status"]

    def _rounds(self) -> Iterator[None]:
        while not self._stop.is_set():
            yield
            time.sleep(_PAUSE_S)

    def _wait(self) -> None:
        with self._connect() as client:
            for _ in self._rounds():
                self._follow(client, self._submit(client, Prefer="wait=20"), 20)

    def _poll(self) -> None:
        with self._connect() as client:
            for _ in self._rounds():
                self._follow(client, self._submit(client), 0)

    def _connect_anew(self) -> None:
        for _ in self._rounds():
            with self._connect() as client:
                job = self._submit(client)
            while job is not None and job["status"] not in FINAL:
                with self._connect() as client:
                    job = self._call(client, "GET", f"/v1/jobs/{job['id']}") or job
                time.sleep(_PAUSE_S)
            if job is not None:
                self.ended[job["id"]] = job["status"]

    def _hold(self) -> None:
        with self._connect() as client:
            while not self._stop.is_set():
                job = self._call(client, "GET", f"/v1/jobs/{self._held}", params={"wait": 60})
                with self._lock:
                    self.released += job is not None and job["status"] == "queued"


@contextmanager
def loaded(load: Load) -> Iterator[Load]:
    """Let the load run for a moment before and after what is done under it."""
    with load:
        before = load.calls
        while load.calls < before + 30:
            time.sleep(0.05)
        yield load
        before = load.calls
        while load.calls < before + 30:
            time.sleep(0.05)
