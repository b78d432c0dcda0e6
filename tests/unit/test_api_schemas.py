"""A job as clients see it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from api.schemas import (
    accepted_batch_bytes,
    batch_bytes,
    job_bytes,
    metadata_of,
    page_bytes,
    retry_after,
    timestamp,
)
from jobs.job import Batch, Job, Page
from jobs.overview import ModelOverview, WorkerInfo
from jobs.states import Priority, Status

ID = "job_01i01k82a16m7e2q8kp9jnld5hk6h"
CONTRACT = [
    *("id", "model", "version", "status", "input", "output", "error", "priority", "attempt"),
    *("crashes", "progress", "queue", "created_at", "started_at", "finished_at", "deadline_at"),
    *("retained_until", "timeout_s", "metrics", "webhook", "metadata", "retry_of", "batch"),
    "links",
]


def job(**fields: Any) -> Job:
    return Job(
        **{
            "id": ID,
            "model": "echo",
            "version": "1",
            "tenant": "default",
            "status": Status.QUEUED,
            "priority": Priority.NORMAL,
            "created_at": 1_795_373_963_977,
            "timeout_s": 300.0,
            **fields,
        }
    )


def load(*, queued: int = 10, ready: int = 2, each: float | None = 0.5) -> ModelOverview:
    worker = WorkerInfo("w", "w:1", "1", "ready", "", "cpu", 1)
    return ModelOverview(queued, 3, each, 0.0, [worker] * ready)


def shown(one: Job, figures: ModelOverview | None = None) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(job_bytes(one, figures))
    return body


def test_a_job_has_the_fields_of_the_contract_in_its_order() -> None:
    assert list(shown(job())) == CONTRACT


@pytest.mark.parametrize(
    ("milliseconds", "text"),
    [
        (None, None),
        (0, "1970-01-01T00:00:00.000Z"),
        (1_795_373_963_977, "2026-11-22T18:59:23.977Z"),
        (1_795_373_963_007, "2026-11-22T18:59:23.007Z"),
    ],
)
def test_times_are_rfc_3339_in_utc_with_milliseconds(
    milliseconds: int | None, text: str | None
) -> None:
    assert timestamp(milliseconds) == text


def test_payloads_go_through_as_they_are() -> None:
    body = shown(job(input=b'{"a": 12345678901234567890123}', progress=b'{"fraction":0.5}'))
    assert body["input"] == {"a": 12345678901234567890123}
    assert body["progress"] == {"fraction": 0.5}


def test_a_finished_job_has_its_figures() -> None:
    body = shown(
        job(
            status=Status.SUCCEEDED,
            output=b"[1]",
            started_at=1_795_373_964_477,
            finished_at=1_795_373_965_000,
            batch_size=4,
            worker="w1",
        )
    )
    assert body["metrics"] == {"queue_s": 0.5, "run_s": 0.523, "batch_size": 4, "worker": "w1"}
    assert body["queue"] is None
    assert body["output"] == [1]


def test_only_routes_that_exist_are_linked() -> None:
    links = shown(job())["links"]
    assert links == {"self": f"/v1/jobs/{ID}", "cancel": f"/v1/jobs/{ID}/cancel"}


def test_the_wait_is_estimated_from_what_was_learned() -> None:
    assert shown(job(ahead=8), load())["queue"] == {"ahead": 8, "eta_s": 2.0}
    assert shown(job(), load())["queue"] == {"ahead": 10, "eta_s": 2.5}
    assert shown(job(attempt=1), load())["queue"] == {"ahead": None, "eta_s": None}
    assert shown(job(ahead=8), load(ready=0))["queue"] == {"ahead": 8, "eta_s": None}
    assert shown(job(ahead=8), load(each=None))["queue"] == {"ahead": 8, "eta_s": None}
    assert shown(job(ahead=8))["queue"] == {"ahead": 8, "eta_s": None}


@pytest.mark.parametrize(
    ("one", "figures", "seconds"),
    [
        (job(ahead=8), load(), 2),
        (job(ahead=100_000), load(), 60),
        (job(ahead=0), load(), 1),
        (job(ahead=8), None, 1),
        (job(status=Status.RUNNING), load(each=4.2), 5),
        (job(status=Status.RUNNING), load(each=None), 1),
    ],
)
def test_when_to_ask_again(one: Job, figures: ModelOverview | None, seconds: int) -> None:
    assert retry_after(one, figures) == seconds


def test_metadata_is_shown_and_a_webhooks_secret_is_not() -> None:
    extra = b'{"metadata":{"k":"v"},"webhook":{"url":"https://a","secret":"whsec_x"}}'
    body = shown(job(extra=extra))
    assert body["metadata"] == {"k": "v"}
    assert body["webhook"] == {"url": "https://a", "events": None}
    assert metadata_of(job(extra=extra)) == b'{"k":"v"}'
    assert metadata_of(job()) is None


def test_a_page_and_a_batch() -> None:
    page = json.loads(page_bytes(Page([job()], "abc"), {"echo": None}))
    assert (page["data"][0]["id"], page["next_cursor"]) == (ID, "abc")
    accepted = json.loads(accepted_batch_bytes("bat_1", [job(), job()], None))
    assert (accepted["batch"], len(accepted["jobs"])) == ("bat_1", 2)
    counts = {Status.QUEUED: 1, Status.SUCCEEDED: 2}
    batch = Batch(id="bat_1", model="echo", tenant="default", total=3, created_at=0, counts=counts)
    body = json.loads(batch_bytes(batch))
    assert body["counts"] == {status: counts.get(status, 0) for status in Status}
    assert (body["total"], body["finished_at"]) == (3, None)
    assert body["links"]["jobs"] == "/v1/jobs?batch=bat_1"
