"""A client that goes on submitting, at a gentle pace, until it is told to stop."""

from __future__ import annotations

import itertools
import threading
import time
from types import TracebackType
from typing import Any, Self

from headrace.chaos.client import Client

#: the name of the chaos model
MODEL = "chaos"
#: seconds between two submits of one thread
_PACE_S = 0.02


class SteadyLoad:
    """So many threads, each with its next job as soon as the one before was accepted."""

    def __init__(self, client: Client, *, threads: int = 6, model: str = MODEL) -> None:
        self._client = client
        self._model = model
        self._numbers = itertools.count()
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run) for _ in range(threads)]
        self.failures: list[Exception] = []

    def __enter__(self) -> Self:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                number = next(self._numbers)
                given: dict[str, Any] = {"n": number, "seconds": 0.01}
                self._client.submit(self._model, given, number)
                time.sleep(_PACE_S)
        except Exception as error:  # noqa: BLE001 - told to the test, which fails with it
            self.failures.append(error)

    def accepted(self) -> int:
        """How many jobs were acknowledged until now."""
        return len(self._client.ledger.accepted)
