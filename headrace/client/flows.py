"""What each call of the client asks of the server, as flows."""

from __future__ import annotations

import itertools
import time
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypedDict
from urllib.parse import quote

from headrace.client.errors import NotFound, WaitTimeout
from headrace.client.exchange import Flow, Pause, Send, body, exchange
from headrace.client.view import FINAL, JobView

#: Longest time one request is held by the server.
_HOLD_S = 60
_POLL_S = 0.1
#: Inputs, and bytes of them, that go in one batch; the server takes 1000 and 1 MiB by default.
_BATCH_INPUTS = 1000
_BATCH_BYTES = 900_000
#: Batches of a `map` on the server at once: enough to keep it busy, few enough for its queue.
_BATCHES_AHEAD = 4
_IDS_PER_PAGE = 50
#: The most dead letters that one request retries or erases.
_DEAD_PER_PAGE = 200

Data = dict[str, Any]


class WebhookOptions(TypedDict, total=False):
    """Where events are sent: `url` must be given; what they are signed with, if not the usual."""

    url: str
    events: Iterable[str]
    secret: str


class SubmitOptions(TypedDict, total=False):
    """What a submit may say beside the input."""

    priority: str
    deadline_s: float
    timeout_s: float
    metadata: Mapping[str, Any]
    webhook: WebhookOptions
    idempotency_key: str


class ListOptions(TypedDict, total=False):
    """What narrows a list of jobs."""

    model: str
    status: str
    batch: str
    ids: Iterable[str]
    limit: int
    cursor: str


class DeadOptions(TypedDict, total=False):
    """Which dead letters are meant; one of the three must be given."""

    ids: Iterable[str]
    model: str
    all: bool


def submit(name: str, value: Any, options: SubmitOptions, retries: int) -> Flow[Data]:
    """Submit one job."""
    request = _submission(f"/v1/models/{quote(name)}/jobs", {"input": value}, options)
    return (yield from _json(request, retries))


def submit_batch(
    name: str, values: list[Any], options: SubmitOptions, retries: int
) -> Flow[list[Data]]:
    """Submit up to a thousand jobs, all or none."""
    request = _submission(f"/v1/models/{quote(name)}/jobs/batch", {"inputs": values}, options)
    answer = yield from _json(request, retries)
    return list(answer["jobs"])


def get(job_id: str, retries: int, hold_s: int = 0) -> Flow[Data]:
    """Read a job; held until it is final or the time is over."""
    params = {"wait": str(hold_s)} if hold_s else {}
    path = f"/v1/jobs/{quote(job_id)}"
    request = Send(method="GET", path=path, params=params, held_s=hold_s)
    return (yield from _json(request, retries))


def wait(job_id: str, timeout_s: float | None, retries: int) -> Flow[Data]:
    """Wait until a job is final; WaitTimeout when the time is over first."""
    until = None if timeout_s is None else time.monotonic() + timeout_s
    while True:
        left_s = float(_HOLD_S) if until is None else until - time.monotonic()
        hold_s = int(max(0.0, min(left_s, _HOLD_S)))
        asked = time.monotonic()
        data = yield from get(job_id, retries, hold_s)
        if data["status"] in FINAL:
            return data
        now = time.monotonic()
        if until is not None and now >= until:
            raise WaitTimeout(job_id, data["status"])
        # A server that drains answers at once: it must not be asked in a tight loop.
        if now - asked < _POLL_S:
            yield Pause(_POLL_S if until is None else min(_POLL_S, until - now))


def act(job_id: str, verb: str, retries: int, key: str | None = None) -> Flow[Data]:
    """Cancel or retry a job."""
    headers = {"idempotency-key": key or str(uuid.uuid4())} if verb == "retry" else {}
    request = Send(method="POST", path=f"/v1/jobs/{quote(job_id)}/{verb}", headers=headers)
    return (yield from _json(request, retries))


def delete(job_id: str, retries: int) -> Flow[None]:
    """Erase a final job."""
    yield from exchange(Send(method="DELETE", path=f"/v1/jobs/{quote(job_id)}"), retries)


def list_jobs(options: ListOptions, retries: int) -> Flow[Data]:
    """Read one page of jobs, newest first."""
    given: Mapping[str, Any] = options
    params = {
        name: ",".join(value) if name == "ids" else str(value)
        for name, value in given.items()
        if value is not None
    }
    return (yield from _json(Send(method="GET", path="/v1/jobs", params=params), retries))


def list_dead(options: Mapping[str, Any], retries: int) -> Flow[Data]:
    """Read one page of dead letters, newest first."""
    params = {name: str(value) for name, value in options.items() if value is not None}
    return (yield from _json(Send(method="GET", path="/v1/admin/dead", params=params), retries))


def get_dead(job_id: str, retries: int) -> Flow[Data]:
    """Read a dead letter."""
    request = Send(method="GET", path=f"/v1/admin/dead/{quote(job_id)}")
    return (yield from _json(request, retries))


def dead(verb: str, options: DeadOptions, retries: int) -> Flow[list[Data]]:
    """Retry or purge dead letters, as many as there are; what became of each."""
    said: Data = {name: value for name, value in options.items() if value}
    ids = list(said.pop("ids", ()))
    asked = [
        {**said, "ids": ids[n : n + _DEAD_PER_PAGE]} for n in range(0, len(ids), _DEAD_PER_PAGE)
    ]
    done: list[Data] = []
    for each in asked or [said]:
        cursor = None
        while True:
            content = body(each if cursor is None else {**each, "cursor": cursor})
            request = Send(method="POST", path=f"/v1/admin/dead/{verb}", content=content)
            answer = yield from _json(request, retries)
            done += answer["data"]
            cursor = answer["next_cursor"]
            if cursor is None:
                break
    return done


def models(retries: int) -> Flow[list[Data]]:
    """Read the cards and states of all models."""
    answer = yield from _json(Send(method="GET", path="/v1/models"), retries)
    return list(answer["data"])


def model(name: str, retries: int) -> Flow[Data]:
    """Read the card and state of one model."""
    return (yield from _json(Send(method="GET", path=f"/v1/models/{quote(name)}"), retries))


def map_inputs(
    name: str, values: Iterable[Any], options: SubmitOptions, retries: int
) -> Flow[list[JobView]]:
    """Run a model over many inputs in batches; the finished jobs in the order of the inputs."""
    key = options.pop("idempotency_key", None)
    batches = _batches(values)
    sent: list[list[str]] = []
    done: list[JobView] = []
    for number in itertools.count():
        batch = next(batches, None)
        if batch is not None:
            if key is not None:
                options["idempotency_key"] = f"{key}-{number}"
            jobs = yield from submit_batch(name, batch, options, retries)
            sent.append([job["id"] for job in jobs])
        if sent and (batch is None or len(sent) >= _BATCHES_AHEAD):
            done += yield from _collect(sent.pop(0), retries)
        if batch is None and not sent:
            break
    return done


def _collect(ids: list[str], retries: int) -> Flow[list[JobView]]:
    found: dict[str, Data] = {}
    pending = ids
    while pending:
        # The last to have come is nearly the last to end: one held request instead of many reads.
        yield from get(pending[-1], retries, _HOLD_S)
        before = len(pending)
        for start in range(0, len(pending), _IDS_PER_PAGE):
            chosen = pending[start : start + _IDS_PER_PAGE]
            page = yield from list_jobs({"ids": chosen, "limit": len(chosen)}, retries)
            jobs = {job["id"]: job for job in page["data"]}
            _require_all(chosen, jobs)
            found.update({id_: job for id_, job in jobs.items() if job["status"] in FINAL})
        pending = [id_ for id_ in pending if id_ not in found]
        if len(pending) == before:
            yield Pause(_POLL_S)
    return [JobView(found[id_]) for id_ in ids]


def _require_all(ids: list[str], jobs: Mapping[str, Data]) -> None:
    for id_ in ids:
        if id_ not in jobs:
            problem = {"code": "no_such_job", "detail": f"{id_} was erased before it was read."}
            raise NotFound(404, problem, None)


def _batches(values: Iterable[Any]) -> Iterator[list[Any]]:
    batch: list[Any] = []
    size = 0
    for value in values:
        length = len(body(value)) + 1
        if batch and (len(batch) == _BATCH_INPUTS or size + length > _BATCH_BYTES):
            yield batch
            batch, size = [], 0
        batch.append(value)
        size += length
    if batch:
        yield batch


def _submission(path: str, content: Data, options: SubmitOptions) -> Send:
    said: Data = {name: value for name, value in options.items() if value is not None}
    events = (options.get("webhook") or {}).get("events")
    if events is not None:
        said["webhook"] = {**said["webhook"], "events": list(events)}
    # One key for all tries of this call: a try whose answer was lost is not a second job.
    key = said.pop("idempotency_key", None) or str(uuid.uuid4())
    return Send(
        method="POST",
        path=path,
        headers={"idempotency-key": key},
        content=body({**content, **said}),
    )


def _json(request: Send, retries: int) -> Flow[Data]:
    response = yield from exchange(request, retries)
    answer: Data = response.json()
    return answer
