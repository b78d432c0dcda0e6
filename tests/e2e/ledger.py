"""A client's own book: what it was promised, and what it was told became of it."""

from __future__ import annotations

import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from .stack import FINAL, Api

CONNECTIONS = 16


class Ledger:
    """Submits many jobs while things break, and holds every outcome it is told to the first."""

    def __init__(self, api: Api, model: str, inputs: list[Any]) -> None:
        self._api = api
        self._model = model
        self._inputs = inputs
        self._lock = threading.Lock()
        self.accepted: dict[str, Any] = {}
        self.outcomes: dict[str, dict[str, Any]] = {}
        self.changed: list[tuple[dict[str, Any], dict[str, Any]]] = []

    def submit_all(self) -> None:
        """Submit each input once; a refused or lost one is repeated under its own key."""
        with ThreadPoolExecutor(CONNECTIONS) as pool:
            list(pool.map(self._submit, range(len(self._inputs))))

    def _submit(self, number: int) -> None:
        header = {"Idempotency-Key": f"ledger-{id(self)}-{number}"}
        end = time.monotonic() + 60
        while time.monotonic() < end:
            try:
                answer = self._api.post(self._model, self._inputs[number], headers=header)
            except httpx.TransportError:
                answer = None
            if answer is not None and answer.status_code == 202:
                with self._lock:
                    self.accepted[answer.json()["id"]] = self._inputs[number]
                return
            assert answer is None or answer.status_code == 503, answer.text
            time.sleep(0.1)
        raise TimeoutError(f"input {number} was never accepted")

    @property
    def done(self) -> int:
        """How many outcomes are known."""
        return len(self.outcomes)

    def read_once(self, *, again: bool = False) -> None:
        """Read what has no outcome yet; or all, as an outcome that is another one now is a lie."""
        with self._lock:
            waiting = sorted(self.accepted if again else self.accepted.keys() - self.outcomes)
        for start in range(0, len(waiting), 100):
            ids = ",".join(waiting[start : start + 100])
            answer = self._api.call("GET", "/v1/jobs", params={"ids": ids, "limit": 100})
            if answer.status_code == 503:
                return
            assert answer.status_code == 200, answer.text
            for job in answer.json()["data"]:
                self._note(job)

    def _note(self, job: dict[str, Any]) -> None:
        before = self.outcomes.get(job["id"])
        told = {name: job[name] for name in ("status", "output", "finished_at", "attempt")}
        if before is not None and before != told:
            self.changed.append((before, told))
        elif job["status"] in FINAL:
            self.outcomes[job["id"]] = told

    def read_all(self, seconds: float = 60.0) -> None:
        """Read until every accepted job has an outcome."""
        end = time.monotonic() + seconds
        while len(self.outcomes) < len(self.accepted):
            if time.monotonic() > end:
                break
            self.read_once()
            time.sleep(0.1)
        self.read_once(again=True)

    def verdict(self) -> dict[str, Any]:
        """Say in one line how it went."""
        return {
            "sent": len(self._inputs),
            "accepted": len(self.accepted),
            "lost": len(self.accepted.keys() - self.outcomes.keys()),
            "changed": len(self.changed),
            "statuses": dict(Counter(told["status"] for told in self.outcomes.values())),
        }
