"""A client that is not put off: it repeats what was refused, on any API, under the same key."""

from __future__ import annotations

import itertools
import secrets
import threading
import time
from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx

from headrace.chaos.api import Api
from headrace.chaos.ledger import Ledger

#: seconds between two tries of a request that was refused
PAUSE_S = 0.1
#: seconds without an answer after which a request is sent to another API
ANSWER_S = 5.0
#: seconds for which an API that did not answer is left alone
SHUN_S = 1.0


class Refused(Exception):
    """A request was answered with something other than what was expected."""

    def __init__(self, answer: httpx.Response) -> None:
        super().__init__(f"{answer.status_code}: {answer.text}")
        self.status = answer.status_code
        self.code = str(answer.json().get("code"))


class Client:
    """Many connections to several APIs that are one service; all it is told goes to the ledger."""

    def __init__(
        self, apis: Sequence[Api], ledger: Ledger, *, connections: int = 16, limit_s: float = 60.0
    ) -> None:
        self.ledger = ledger
        self.connections = connections
        self._apis = list(apis)
        self._turn = itertools.count()
        self._mark = secrets.token_hex(4)
        self._limit_s = limit_s
        self._shunned: dict[str, float] = {}
        self._lock = threading.Lock()
        self._in_flight: Counter[str] = Counter()

    def in_flight(self, api: Api | None = None) -> int:
        """How many requests to this API (to all) wait for their answer right now."""
        with self._lock:
            return self._in_flight[api.url] if api else self._in_flight.total()

    def insist(
        self,
        method: str,
        path: str,
        expected: Collection[int] = (200,),
        *,
        answer_s: float = ANSWER_S,
        **given: Any,
    ) -> httpx.Response:
        """Send a request until it is answered with anything but 503, to one API after the other.

        Raises Refused for an answer that is not expected, TimeoutError when there is none.
        """
        end = time.monotonic() + self._limit_s
        while True:
            api = self._next_api()
            try:
                answer = self._send(api, method, path, timeout=answer_s, **given)
            except httpx.TransportError as error:
                why = type(error).__name__
                self._shunned[api.url] = time.monotonic() + SHUN_S
            else:
                if answer.status_code in expected:
                    return answer
                if answer.status_code != 503:
                    raise Refused(answer)
                why = str(answer.json().get("code"))
            self.ledger.refuse(why)
            if time.monotonic() > end:
                raise TimeoutError(f"{method} {path} not answered for {self._limit_s} s: {why}")
            time.sleep(PAUSE_S)

    def _next_api(self) -> Api:
        now = time.monotonic()
        turn = next(self._turn)
        good = [api for api in self._apis if self._shunned.get(api.url, 0.0) <= now]
        among = good or self._apis
        return among[turn % len(among)]

    def _send(self, api: Api, method: str, path: str, **given: Any) -> httpx.Response:
        with self._lock:
            self._in_flight[api.url] += 1
        try:
            return api.call(method, path, **given)
        finally:
            with self._lock:
                self._in_flight[api.url] -= 1

    def key(self, name: int | str) -> dict[str, str]:
        """The header that makes a repeated request the same request."""
        return {"Idempotency-Key": f"{self._mark}-{name}"}

    def submit(
        self, model: str, given: Any, name: int | str, *, about: Any = None, **options: Any
    ) -> dict[str, Any]:
        """Submit once, however often it has to be sent; in the ledger when this returns."""
        path = f"/v1/models/{model}/jobs"
        body = {"input": given, **options}
        answer = self.insist("POST", path, {202}, json=body, headers=self.key(name))
        job = dict(answer.json())
        self.ledger.accept(job["id"], given if about is None else about)
        return job

    def submit_batch(
        self,
        model: str,
        inputs: list[Any],
        name: int | str,
        *,
        about: list[Any] | None = None,
        **options: Any,
    ) -> tuple[str, list[str]]:
        """Submit many in one request, as `submit` does; return the batch and its jobs."""
        path = f"/v1/models/{model}/jobs/batch"
        body = {"inputs": inputs, **options}
        made = self.insist("POST", path, {202}, json=body, headers=self.key(name)).json()
        jobs = [str(job["id"]) for job in made["jobs"]]
        self.ledger.accept_all(jobs, inputs if about is None else about)
        return str(made["batch"]), jobs

    def submit_all(self, model: str, inputs: Iterable[Any]) -> None:
        """Submit each input once, over all connections."""
        with ThreadPoolExecutor(self.connections) as pool:
            numbered = enumerate(inputs)
            list(pool.map(lambda pair: self.submit(model, pair[1], pair[0]), numbered))

    def read_once(self, *, again: bool = False) -> None:
        """Read what has no outcome yet; or all, as an outcome that is another one now is a lie."""
        waiting = self.ledger.everything() if again else self.ledger.open()
        for start in range(0, len(waiting), 100):
            asked = waiting[start : start + 100]
            params = {"ids": ",".join(asked), "limit": 100}
            asked_at = time.monotonic()
            answer = self.insist("GET", "/v1/jobs", params=params)
            told = answer.json()["data"]
            self.ledger.tell(*told, asked=asked_at)
            self.ledger.miss(set(asked) - {job["id"] for job in told})

    def read_all(self, seconds: float = 60.0) -> None:
        """Read until every accepted job has an outcome, then each once more."""
        end = time.monotonic() + seconds
        while self.ledger.open() and time.monotonic() < end:
            self.read_once()
            time.sleep(PAUSE_S)
        self.read_once(again=True)
