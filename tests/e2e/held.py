"""A worker that is kept busy until a test lets go, however long the machine takes meanwhile."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from headrace.chaos.stack import Api

#: More than are started ahead of the one that runs: what comes behind these waits.
BETWEEN = 10


@contextmanager
def held(api: Api, folder: Path, model: str = "actor", **given: Any) -> Iterator[str]:
    """A job that runs, and goes on until this ends."""
    gate = folder / "gate"
    gate.unlink(missing_ok=True)
    job = api.submit(model, {**given, "gate": str(gate)})["id"]
    try:
        api.reaches(job, "running")
        yield job
    finally:
        gate.touch()
        api.finished(job)


@contextmanager
def blocked(api: Api, folder: Path) -> Iterator[None]:
    """What comes now waits in the queue until this ends."""
    with held(api, folder):
        between = [api.submit("actor", {"name": "between"})["id"] for _ in range(BETWEEN)]
        yield
    for each in between:
        api.finished(each)


def sends(api: Api, job: str, sent: threading.Event) -> httpx.Response:
    """Ask for a job that is waited for; the event is set once the request has left."""

    def trace(name: str, _: Any) -> None:
        if name == "http11.send_request_body.complete":
            sent.set()

    return api.call("GET", f"/v1/jobs/{job}?wait=20", extensions={"trace": trace})


def waits(api: Api, job: str, sent: threading.Event) -> dict[str, Any]:
    """Likewise, and return the job."""
    answer = sends(api, job, sent)
    assert answer.status_code == 200, answer.text
    return dict(answer.json())
