"""A job as the server last told it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Any

from headrace.client.errors import JobFailed

FINAL = frozenset({"succeeded", "failed", "canceled", "expired", "timed_out"})


class JobView:
    """The fields of a job; `data` is all of it as it came."""

    def __init__(self, data: Mapping[str, Any]) -> None:
        self.data = dict(data)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.model} {self.status}>"

    @property
    def id(self) -> str:
        return str(self.data["id"])

    @property
    def model(self) -> str:
        return str(self.data["model"])

    @property
    def version(self) -> str:
        return str(self.data["version"])

    @property
    def status(self) -> str:
        return str(self.data["status"])

    @property
    def final(self) -> bool:
        """Whether the status will never change again."""
        return self.status in FINAL

    @property
    def input(self) -> Any:
        return self.data.get("input")

    @property
    def output(self) -> Any:
        """The result of a job that succeeded, else None."""
        return self.data.get("output")

    @property
    def error(self) -> dict[str, Any] | None:
        """The problem (code, detail, retryable, ...) of a job that did not succeed."""
        return self.data.get("error")

    @property
    def progress(self) -> tuple[float | None, str | None]:
        """Fraction and message, as far as the model tells them."""
        told = self.data.get("progress") or {}
        return told.get("fraction"), told.get("message")

    @property
    def metadata(self) -> dict[str, Any]:
        return dict(self.data.get("metadata") or {})

    @property
    def created_at(self) -> datetime | None:
        return self._time("created_at")

    @property
    def started_at(self) -> datetime | None:
        return self._time("started_at")

    @property
    def finished_at(self) -> datetime | None:
        return self._time("finished_at")

    def failure(self) -> JobFailed | None:
        """The error of a job that ended without success, None for any other."""
        if not self.final or self.status == "succeeded":
            return None
        return JobFailed(self.id, self.status, self.error)

    def _time(self, name: str) -> datetime | None:
        text = self.data.get(name)
        return None if text is None else datetime.fromisoformat(text)


def outputs(done: Iterable[JobView], return_exceptions: bool) -> list[Any]:
    """Return the outputs of finished jobs; raise the first failure unless it is wanted in place."""
    results: list[Any] = []
    for job in done:
        failure = job.failure()
        if failure is not None and not return_exceptions:
            raise failure
        results.append(job.output if failure is None else failure)
    return results
