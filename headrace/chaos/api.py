"""One API as a client with one key sees it."""

from __future__ import annotations

from typing import Any

import httpx

from headrace.chaos.process import Process, until

FINAL = frozenset({"succeeded", "failed", "canceled", "expired", "timed_out"})


class Api:
    """One API, and what may be asked of it."""

    def __init__(self, url: str, process: Process, *, http: httpx.Client | None = None) -> None:
        self.url = url
        self.process = process
        self.http = http or httpx.Client(base_url=url, timeout=70)
        self._headers: dict[str, str] = {}

    def with_key(self, key: str | None) -> Api:
        """Return the same API as seen with another key, or with none."""
        other = Api(self.url, self.process, http=self.http)
        other._headers = {"Authorization": f"Bearer {key}"} if key else {}
        return other

    def call(
        self, method: str, path: str, *, headers: dict[str, str] | None = None, **given: Any
    ) -> httpx.Response:
        """Send any request."""
        return self.http.request(
            method, path, headers={**self._headers, **(headers or {})}, **given
        )

    def status(self, path: str) -> int:
        """Return the status of a GET, 0 when nobody answers."""
        try:
            return self.call("GET", path).status_code
        except httpx.TransportError:
            return 0

    def alive(self) -> bool:
        """Whether it answers and is not about to end."""
        return self.status("/livez") == 200

    def up(self, seconds: float = 60.0) -> None:
        """Wait until it answers; a process that ended instead is an error with what it said."""
        process = self.process
        until(lambda: self.alive() or not process.running, seconds, "the API")
        if not process.running:
            raise RuntimeError(f"the API ended with {process.exit_code}: {process.said()}")

    def ready(self, *models: str, seconds: float = 60.0) -> None:
        """Wait until each model has a ready worker."""
        for model in models:
            path = f"/healthz?model={model}"
            until(lambda path=path: self.status(path) == 200, seconds, path)  # type: ignore[misc]

    def post(
        self, model: str, given: Any, *, headers: dict[str, str] | None = None, **options: Any
    ) -> httpx.Response:
        """Submit, and return the answer as it is."""
        body = {"input": given, **options}
        return self.call("POST", f"/v1/models/{model}/jobs", json=body, headers=headers)

    def submit(self, model: str, given: Any, **options: Any) -> dict[str, Any]:
        """Submit, and return the accepted job."""
        answer = self.post(model, given, **options)
        assert answer.status_code == 202, answer.text
        return dict(answer.json())

    def get(self, job_id: str, wait: float | None = None) -> dict[str, Any]:
        """Read a job; with `wait`, once it is final or time is over."""
        asked = {"wait": wait} if wait is not None else {}
        answer = self.call("GET", f"/v1/jobs/{job_id}", params=asked)
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def cancel(self, job_id: str) -> httpx.Response:
        """Ask for the end of a job."""
        return self.call("POST", f"/v1/jobs/{job_id}/cancel")

    def finished(self, job_id: str, seconds: float = 30.0) -> dict[str, Any]:
        """Read a job until it is final."""

        def final() -> dict[str, Any] | None:
            job = self.get(job_id, wait=2)
            return job if job["status"] in FINAL else None

        return until(final, seconds, f"{job_id} is final") or {}

    def run(self, model: str, given: Any, **options: Any) -> dict[str, Any]:
        """Submit and wait for the outcome."""
        return self.finished(self.submit(model, given, **options)["id"])

    def reaches(self, job_id: str, status: str, seconds: float = 15.0) -> dict[str, Any]:
        """Wait until a job shows a status that may pass."""

        def there() -> dict[str, Any] | None:
            job = self.get(job_id)
            return job if job["status"] == status else None

        return until(there, seconds, f"{job_id} is {status}") or {}
