"""Batches and pages: what a client sees of many jobs."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import Any

import pytest

from headrace.chaos.stack import Api, until

from .problems import problem

BATCH = "/v1/models/echo/jobs/batch"


def pages(api: Api, **query: Any) -> Iterator[list[dict[str, Any]]]:
    """Walk all pages of a list."""
    cursor: str | None = None
    while True:
        asked = {**query, **({"cursor": cursor} if cursor else {})}
        answer = api.call("GET", "/v1/jobs", params=asked)
        assert answer.status_code == 200, answer.text
        yield answer.json()["data"]
        cursor = answer.json()["next_cursor"]
        if cursor is None:
            return


def ids(api: Api, **query: Any) -> list[str]:
    return [job["id"] for page in pages(api, **query) for job in page]


def batch(api: Api, count: int, **options: Any) -> dict[str, Any]:
    body = {"inputs": [{"message": n} for n in range(count)], **options}
    answer = api.call("POST", BATCH, json=body)
    assert answer.status_code == 202, answer.text
    return dict(answer.json())


def test_a_batch_answers_its_jobs_in_order(api: Api) -> None:
    made = batch(api, 25, metadata={"of": "batch"})
    assert made["batch"].startswith("bat_")
    outputs = [api.finished(job["id"])["output"]["message"] for job in made["jobs"]]
    assert outputs == list(range(25))
    assert {job["batch"] for job in made["jobs"]} == {made["batch"]}


def test_a_batch_counts_its_jobs(api: Api) -> None:
    made = batch(api, 10)["batch"]

    def done() -> dict[str, Any] | None:
        seen = api.call("GET", f"/v1/batches/{made}").json()
        return seen if seen["counts"]["succeeded"] == 10 else None

    seen = until(done, what="the batch is done")
    assert seen is not None
    assert (seen["id"], seen["model"], seen["total"]) == (made, "echo", 10)
    assert sum(seen["counts"].values()) == 10
    assert seen["finished_at"] >= seen["created_at"]
    assert sorted(ids(api, batch=made, limit=3)) == sorted(
        job["id"] for job in api.call("GET", "/v1/jobs", params={"batch": made}).json()["data"]
    )


def test_a_wrong_input_refuses_the_whole_batch_and_names_the_index(api: Api) -> None:
    before = ids(api, model="kinds", limit=200)
    body = {"inputs": [{"text": "a"}, {"text": ""}, {"text": "b"}, {"text": "c", "count": "1"}]}
    answer = api.call("POST", "/v1/models/kinds/jobs/batch", json=body)
    errors = problem(answer, 422, "invalid_input")["errors"]
    assert [(e["type"], e["loc"]) for e in errors] == [
        ("string_too_short", ["body", "inputs", 1, "text"]),
        ("int_type", ["body", "inputs", 3, "count"]),
    ]
    assert ids(api, model="kinds", limit=200) == before


@pytest.mark.parametrize("inputs", [[], [{"message": 1}] * 1001, "text", None])
def test_a_batch_of_a_wrong_size_or_kind(api: Api, inputs: Any) -> None:
    problem(api.call("POST", BATCH, json={"inputs": inputs}), 422, "invalid_input")


def test_a_batch_of_a_thousand(api: Api) -> None:
    made = batch(api, 1000)
    assert len({job["id"] for job in made["jobs"]}) == 1000
    until(
        lambda: api.call("GET", f"/v1/batches/{made['batch']}").json()["finished_at"],
        60,
        "a thousand are done",
    )
    assert len(set(ids(api, batch=made["batch"], limit=150))) == 1000


def test_the_newest_come_first(api: Api) -> None:
    made = [api.submit("actor", {"name": str(n)})["id"] for n in range(5)]
    assert ids(api, model="actor", limit=100)[:5] == made[::-1]


def test_filters_hold_together(api: Api) -> None:
    failed = api.run("actor", {"do": "raise"})["id"]
    found = list(pages(api, model="actor", status="failed", limit=50))
    assert failed in [job["id"] for page in found for job in page]
    assert {(j["status"], j["model"]) for page in found for j in page} == {("failed", "actor")}


def test_jobs_by_their_ids(api: Api) -> None:
    made = [api.submit("echo", {"message": n})["id"] for n in range(3)]
    asked = ",".join([*made, "job_" + "0" * 29])
    assert sorted(ids(api, ids=asked)) == sorted(made)


def test_a_cursor_neither_repeats_nor_skips_while_jobs_come_in(api: Api) -> None:
    there = set(batch(api, 60)["batch"] and ids(api, model="echo", limit=100))
    stop = threading.Event()

    def keep_submitting() -> None:
        while not stop.is_set():
            api.submit("echo", {"message": "meanwhile"})

    submitting = [threading.Thread(target=keep_submitting) for _ in range(3)]
    for thread in submitting:
        thread.start()
    try:
        seen = ids(api, model="echo", limit=7)
    finally:
        stop.set()
        for thread in submitting:
            thread.join()
    assert len(seen) == len(set(seen))
    assert there <= set(seen)
    assert seen == sorted(seen, reverse=True)
