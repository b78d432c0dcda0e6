"""A client that is not put off: it repeats what was refused, on any API, under the same key."""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from headrace.chaos.api import Api
from headrace.chaos.ledger import Ledger

#: seconds between two tries of a request that was refused
PAUSE_S = 0.1


class Client:
    """Many connections to several APIs that are one service; all it is told goes to the ledger."""

    def __init__(
        self, apis: Sequence[Api], ledger: Ledger, *, connections: int = 16, limit_s: float = 60.0
    ) -> None:
        self.ledger = ledger
        self._apis = list(apis)
        self._turn = itertools.count()
        self._mark = secrets.token_hex(4)
        self._connections = connections
        self._limit_s = limit_s

    def insist(self, method: str, path: str, **given: Any) -> httpx.Response:
        """Send a request until it is answered with anything but 503, to one API after the other."""
        end = time.monotonic() + self._limit_s
        while True:
            api = self._apis[next(self._turn) % len(self._apis)]
            try:
                answer = api.call(method, path, **given)
            except httpx.TransportError as error:
                why = type(error).__name__
            else:
                if answer.status_code != 503:
                    return answer
                why = str(answer.json().get("code"))
            self.ledger.refuse(why)
            if time.monotonic() > end:
                raise TimeoutError(f"{method} {path} not answered for {self._limit_s} s: {why}")
            time.sleep(PAUSE_S)

    def submit(self, model: str, given: Any, number: int | str, **options: Any) -> dict[str, Any]:
        """Submit once, however often it has to be sent; in the ledger when this returns."""
        headers = {"Idempotency-Key": f"{self._mark}-{number}"}
        path = f"/v1/models/{model}/jobs"
        answer = self.insist("POST", path, json={"input": given, **options}, headers=headers)
        assert answer.status_code == 202, answer.text
        job = dict(answer.json())
        self.ledger.accept(job["id"], given)
        return job

    def submit_all(self, model: str, inputs: Iterable[Any]) -> None:
        """Submit each input once, over all connections."""
        with ThreadPoolExecutor(self._connections) as pool:
            numbered = enumerate(inputs)
            list(pool.map(lambda pair: self.submit(model, pair[1], pair[0]), numbered))

    def read_once(self, *, again: bool = False) -> None:
        """Read what has no outcome yet; or all, as an outcome that is another one now is a lie."""
        waiting = self.ledger.everything() if again else self.ledger.open()
        for start in range(0, len(waiting), 100):
            ids = ",".join(waiting[start : start + 100])
            answer = self.insist("GET", "/v1/jobs", params={"ids": ids, "limit": 100})
            assert answer.status_code == 200, answer.text
            self.ledger.tell(*answer.json()["data"])

    def read_all(self, seconds: float = 60.0) -> None:
        """Read until every accepted job has an outcome, then each once more."""
        end = time.monotonic() + seconds
        while self.ledger.open() and time.monotonic() < end:
            self.read_once()
            time.sleep(PAUSE_S)
        self.read_once(again=True)
