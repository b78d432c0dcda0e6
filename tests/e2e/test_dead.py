"""Dead letters from the command line, against a running API and worker."""

from __future__ import annotations

import asyncio
import json

import pytest
from typer.testing import CliRunner, Result

from headrace.chaos.stack import Api
from headrace.cli import app
from headrace.client.asynchronous import AsyncClient


@pytest.fixture(autouse=True)
def url(api: Api, monkeypatch: pytest.MonkeyPatch) -> str:
    url = str(api.http.base_url)
    monkeypatch.setenv("HEADRACE_URL", url)
    return url


def headrace(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def test_what_failed_is_listed_told_retried_and_purged(api: Api) -> None:
    job = api.run("actor", {"do": "raise"})["id"]
    listed = headrace("dead", "ls", "--model", "actor")
    [line] = [line for line in listed.stdout.splitlines() if job in line]
    assert {"actor@1", "default", "model_error"} <= set(line.split())
    told = headrace("dead", "get", job).stdout
    assert "failed: model_error" in told
    assert "attempt 1 on " in told
    again = headrace("dead", "retry", job, "--json")
    assert again.exit_code == 0, again.output
    [result] = json.loads(again.stdout)
    assert api.finished(result["job"])["retry_of"] == job
    assert headrace("dead", "retry", job).stdout == f"{job} skipped {result['job']}\n"
    assert json.loads(headrace("dead", "get", job, "--json").stdout)["retried_as"] == result["job"]
    assert headrace("dead", "purge", job, result["job"]).exit_code == 0
    assert headrace("dead", "get", job).exit_code == 2


def test_everything_of_a_model_goes_in_pages(api: Api) -> None:
    answer = api.http.post(
        "/v1/models/actor/jobs/batch", json={"inputs": [{"do": "raise"}] * 210}
    ).json()
    for job in answer["jobs"]:
        api.finished(job["id"], seconds=60)
    done = headrace("dead", "purge", "--model", "actor", "--json")
    assert done.exit_code == 0, done.output
    assert {job["id"] for job in answer["jobs"]} <= {one["id"] for one in json.loads(done.stdout)}
    assert json.loads(headrace("dead", "ls", "--model", "actor", "--json").stdout) == []


def test_nothing_is_chosen_by_silence_and_refusals_are_told() -> None:
    for verb in ("retry", "purge"):
        assert headrace("dead", verb).exit_code == 2
    refused = headrace("dead", "purge", "nonsense")
    assert (refused.exit_code, refused.stdout.split()[:3]) == (
        2,
        ["nonsense", "refused", "no_such_job:"],
    )


def test_the_asynchronous_client_sees_the_same(api: Api, url: str) -> None:
    job = api.run("actor", {"do": "raise"})["id"]

    async def look() -> None:
        async with AsyncClient(url) as client:
            assert job in [letter["id"] async for letter in client.dead.all("actor")]
            assert (await client.dead.get(job))["attempts"][0]["attempt"] == 1
            [retried] = await client.dead.retry(ids=[job])
            assert retried["status"] == "retried"
            [purged] = await client.dead.purge(ids=[job])
            assert purged["status"] == "purged"

    asyncio.run(look())
