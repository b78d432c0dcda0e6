"""One Idempotency-Key, one job: however often and however close together it is sent."""

from __future__ import annotations

import uuid
from concurrent.futures import ThreadPoolExecutor

import httpx

from headrace.chaos.stack import Api

from .problems import problem

GIVEN = {"message": "once"}


def keyed(api: Api, key: str, given: object = GIVEN, **options: object) -> httpx.Response:
    return api.post("echo", given, headers={"Idempotency-Key": key}, **options)


def test_a_repeat_gets_the_first_job(api: Api) -> None:
    key = str(uuid.uuid4())
    first, again = keyed(api, key), keyed(api, key)
    assert first.status_code == again.status_code == 202
    assert first.json()["id"] == again.json()["id"]
    assert "idempotent-replayed" not in first.headers
    assert again.headers["idempotent-replayed"] == "true"


def test_bare_and_quoted_are_one_key(api: Api) -> None:
    key = str(uuid.uuid4())
    assert keyed(api, key).json()["id"] == keyed(api, f'"{key}"').json()["id"]


def test_forty_at_once_make_one_job(api: Api) -> None:
    key = str(uuid.uuid4())
    with ThreadPoolExecutor(40) as pool:
        answers = list(pool.map(lambda _: keyed(api, key), range(40)))
    assert {answer.status_code for answer in answers} == {202}
    assert len({answer.json()["id"] for answer in answers}) == 1
    assert sum("idempotent-replayed" not in answer.headers for answer in answers) == 1


def test_another_body_is_a_conflict(api: Api) -> None:
    key = str(uuid.uuid4())
    keyed(api, key)
    problem(keyed(api, key, {"message": "twice"}), 422, "idempotency_conflict")
    problem(keyed(api, key, priority="high"), 422, "idempotency_conflict")


def test_a_finished_job_still_answers(api: Api) -> None:
    key = str(uuid.uuid4())
    job = keyed(api, key).json()
    api.finished(job["id"])
    again = api.post("echo", GIVEN, headers={"Idempotency-Key": key, "Prefer": "wait"})
    assert again.status_code == 200
    assert (again.json()["id"], again.json()["output"]) == (job["id"], GIVEN)


def test_the_key_is_free_again_once_the_job_is_deleted(api: Api) -> None:
    key = str(uuid.uuid4())
    job = keyed(api, key).json()
    api.finished(job["id"])
    assert api.call("DELETE", f"/v1/jobs/{job['id']}").status_code == 204
    assert keyed(api, key).json()["id"] != job["id"]


def test_models_do_not_share_keys(api: Api) -> None:
    key = str(uuid.uuid4())
    header = {"Idempotency-Key": key}
    first = keyed(api, key).json()
    other = api.post("actor", {"name": "a"}, headers=header)
    assert other.status_code == 202
    assert other.json()["id"] != first["id"]


def test_a_batch_is_repeated_whole(api: Api) -> None:
    header = {"Idempotency-Key": str(uuid.uuid4())}
    path, body = "/v1/models/echo/jobs/batch", {"inputs": [GIVEN, GIVEN]}
    first = api.call("POST", path, json=body, headers=header)
    again = api.call("POST", path, json=body, headers=header)
    assert first.json()["batch"] == again.json()["batch"]
    assert [j["id"] for j in first.json()["jobs"]] == [j["id"] for j in again.json()["jobs"]]
    assert again.headers["idempotent-replayed"] == "true"
    other = api.call("POST", path, json={"inputs": [GIVEN]}, headers=header)
    problem(other, 422, "idempotency_conflict")


def test_a_retry_is_repeated(api: Api) -> None:
    failed = api.run("actor", {"do": "raise"})
    header = {"Idempotency-Key": str(uuid.uuid4())}
    path = f"/v1/jobs/{failed['id']}/retry"
    first, again = (api.call("POST", path, headers=header) for _ in range(2))
    assert first.status_code == again.status_code == 202
    assert first.json()["id"] == again.json()["id"] != failed["id"]


def test_a_key_that_is_no_key(api: Api) -> None:
    for key in ("", "x" * 300):
        assert keyed(api, key).status_code in (400, 422)
