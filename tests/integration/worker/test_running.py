"""Jobs through a whole worker: what they end as when nothing breaks."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from typing import Any

from jobs.cards import CardStore
from jobs.connection import RedisConnections


def code_of(job: Any) -> str:
    return json.loads(job.error)["code"]


async def test_a_job_goes_in_and_its_output_comes_out(rig):
    await rig.start()
    job = await rig.run(value={"a": [1, 2.5, None]})
    assert job.status == "succeeded"
    assert json.loads(job.output) == {"value": {"a": [1, 2.5, None]}}
    assert (job.attempt, job.crashes, job.worker) == (1, 0, "w1")
    assert job.created_at <= job.started_at <= job.finished_at


async def test_many_jobs_end_once_each_with_their_own_output(rig, until):
    live = await rig.start()
    jobs = await asyncio.gather(*(rig.run(value=number) for number in range(300)))
    assert [json.loads(job.output)["value"] for job in jobs] == list(range(300))
    assert max(job.batch_size for job in jobs) > 1
    # Whoever waits for a job may hear of its end before its worker does.
    await until(lambda: not live.station.holding.jobs, "Redis's last answer is heard")
    assert live.station.holding.bytes == 0
    assert not any(live.station.holding.counts)
    assert not live.station.holding.batches


async def test_the_card_is_published_and_the_worker_is_ready(rig, redis_url, until):
    live = await rig.start()
    async with RedisConnections(redis_url) as connections:
        (entry,) = await until(CardStore(connections).entries, "the card is published")
    assert (entry.model, entry.version) == ("actor", "1")
    assert entry.card["limits"]["max_batch"] == 4
    assert live.ready().ready


async def test_an_input_that_prepare_refuses_hurts_only_itself(rig):
    await rig.start()
    jobs = await asyncio.gather(*(rig.run("refuse" if n == 3 else "echo") for n in range(8)))
    assert Counter(job.status for job in jobs) == {"succeeded": 7, "failed": 1}
    assert code_of(jobs[3]) == "model_error"


async def test_an_exception_of_one_item_fails_it_alone(rig):
    await rig.start()
    jobs = await asyncio.gather(*(rig.run("raise" if n == 3 else "echo") for n in range(8)))
    assert Counter(job.status for job in jobs) == {"succeeded": 7, "failed": 1}
    error = json.loads(jobs[3].error)
    assert error["code"] == "model_error"
    assert error["job_id"] == jobs[3].id
    assert "status" not in error


async def test_a_retryable_error_is_tried_again_after_its_backoff(rig, tmp_path):
    await rig.start()
    job = await rig.run("busy once", value=1, file=str(tmp_path / "mark"))
    assert (job.status, job.attempt, job.crashes) == ("succeeded", 2, 0)


async def test_retryable_errors_without_end_exhaust_the_attempts(rig):
    await rig.start()
    job = await rig.run("busy")
    assert (job.status, job.attempt) == ("failed", 3)
    assert code_of(job) == "attempts_exhausted"


async def test_a_result_over_the_limit_fails_its_job(rig):
    await rig.start()
    job = await rig.run("large")
    assert job.status == "failed"
    assert code_of(job) == "result_too_large"


async def test_progress_is_told_while_the_job_runs(rig, until):
    await rig.start()
    job = await rig.submit("tell", gate=str(rig.gate))

    async def told():
        found = await rig.queue.get(job.id, "default")
        return found if found.progress else None

    seen = await until(told, "its progress is told")
    assert json.loads(seen.progress) == {"fraction": 0.5, "message": "half way"}
    assert seen.status == "running"
    rig.gate.touch()
    await rig.wait(job)


async def test_jobs_wait_for_a_worker_and_an_expired_one_never_runs(rig):
    waiting = await rig.submit(value=1)
    late = await rig.submit(value=2, deadline_s=0.05)
    await asyncio.sleep(0.1)
    await rig.start()
    assert (await rig.wait(waiting)).status == "succeeded"
    assert (await rig.wait(late)).status == "expired"


async def test_two_workers_share_the_work(rig):
    await rig.start()
    await rig.start()
    jobs = await asyncio.gather(*(rig.run("sleep", seconds=0.05) for _ in range(40)))
    assert {job.status for job in jobs} == {"succeeded"}
    assert {job.worker for job in jobs} == {"w1", "w2"}
