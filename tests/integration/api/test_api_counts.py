"""What an API counts of jobs that end, or go back to the queue, without a worker."""

from __future__ import annotations

import asyncio

from prometheus_client.parser import text_string_to_metric_families

from .conftest import Api, Opening


async def counted(api: Api, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """Return what a scrape shows of a counter above nothing, by these labels."""
    text = (await asyncio.to_thread(api.app._exposition.render)).decode()
    return {
        tuple(sample.labels[label] for label in labels): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
        if sample.name == f"headrace_{name}_total" and sample.value
    }


async def until_counted(api: Api, name: str, *labels: str) -> dict[tuple[str, ...], float]:
    """Wait until there is anything."""
    async with asyncio.timeout(10):
        while not (found := await counted(api, name, *labels)):  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.05)
    return found


async def test_jobs_of_a_worker_that_is_gone(opening: Opening) -> None:
    # It has to be asked for its job before it is found to be gone.
    async with opening(beat_limit_s=2.5) as api:
        await api.publish()
        hand = await api.worker()
        _, unwanted = await api.submit(), await api.submit()
        assert len(await hand.take(2)) == 2
        asked = await api.client.post(f"/v1/jobs/{unwanted['id']}/cancel")
        assert asked.json()["status"] == "canceling"
        ended = await until_counted(api, "jobs_finished", "status", "code")
        assert ended == {("canceled", "canceled"): 1}
        assert await until_counted(api, "requeues", "reason") == {("worker_lost",): 1}


async def test_a_cancel_is_counted_by_whoever_ended_the_job(api: Api) -> None:
    queued, running = await api.submit(priority="low"), await api.submit(priority="high")
    hand = await api.worker()
    jobs = await hand.take(1)
    assert jobs[0].id == running["id"]
    for _ in range(2):
        for job in (queued, running):
            await api.client.post(f"/v1/jobs/{job['id']}/cancel")
    await hand.end(jobs)
    assert (await api.get(running))["status"] == "canceled"
    # That of the running one is the worker's to count, which has settled it.
    assert await counted(api, "jobs_finished", "status") == {("canceled",): 1}


async def test_a_deadline_is_counted_once(api: Api) -> None:
    await api.submit(deadline_s=1)
    assert await until_counted(api, "jobs_finished", "status", "code") == {
        ("expired", "expired"): 1
    }
    await api.app.front.sweep()
    assert await counted(api, "jobs_finished", "status") == {("expired",): 1}


async def test_refusals_are_counted_by_their_code(api: Api) -> None:
    await api.client.post("/v1/models/echo/jobs", json={"input": {"text": 1}})
    await api.client.get("/v1/jobs/job_" + "0" * 29)
    await api.client.get("/nothing")
    await api.client.post("/livez")
    codes = {("invalid_input",): 1, ("no_such_job",): 1, ("not_found",): 1}
    assert await counted(api, "http_errors", "code") == {**codes, ("method_not_allowed",): 1}
