"""Who is charged when a whole worker vanishes, and who is convicted in the end."""

from __future__ import annotations

import asyncio

from jobs.adoption import Adopted, Unbroken, adopt
from jobs.job import Job
from jobs.states import Status
from jobs.worker_queue import Claimed, HandBack, WorkerQueue
from tests.integration.queue_rig import SHARDS, Rig, done, rig_on

LIMIT_S = 0.05


class Burials:
    """Lets workers vanish."""

    def __init__(self, rig: Rig) -> None:
        self.rig = rig
        self.unbroken = Unbroken()

    async def bury(self, count: int) -> dict[str, Adopted]:
        """Wait until so many jobs of workers that do not beat have been adopted."""
        found: dict[str, Adopted] = {}
        async with asyncio.timeout(20):
            while len(found) < count:
                await asyncio.sleep(LIMIT_S / 5)
                moved = await adopt(self.rig.connections, self.rig.options, SHARDS, self.unbroken)
                found |= {each.id: each for each in moved}
        return found


async def alone(worker: WorkerQueue) -> Claimed:
    """Claim one suspect and start it by itself, as a worker does."""
    [job] = await worker.claim(1, start=True)
    assert (job.started, job.crashes > 0) == (False, True)
    assert (await worker.start([job]))[job.id] == "ok"
    return job


async def test_of_a_batch_of_32_that_ends_its_machine_one_is_convicted(redis_url: str) -> None:
    async with rig_on(redis_url, beat_limit_s=LIMIT_S) as rig:
        burials = Burials(rig)
        jobs = [await rig.submit() for _ in range(32)]
        culprit = jobs[13].id
        worker = await rig.worker("w0")
        assert len(await worker.claim(32, start=True)) == 32
        assert {each.verdict for each in (await burials.bury(32)).values()} == {"ok"}
        assert [(await rig.get(job)).crashes for job in jobs] == [1] * 32
        deaths, ended = 1, set()
        while len(ended) < 32:
            worker = await rig.worker(f"w{deaths}")
            while True:
                # Others wait in its hands meanwhile: they must not be charged again.
                more = await worker.claim(32)
                job = next((each for each in more if each.id == culprit), None) or more[0]
                assert (await worker.start([job]))[job.id] == "ok"
                if job.id == culprit:
                    break
                await worker.settle([done(job)])
                ended.add(job.id)
                await worker.hand_back([HandBack(each.id, each.token) for each in more[1:]])
            deaths += 1
            moved = await burials.bury(len(more))
            verdicts = {each.id: each.verdict for each in moved.values()}
            assert verdicts.pop(culprit) == ("poisoned" if deaths == 3 else "ok")
            assert set(verdicts.values()) <= {"ok"}
            if deaths == 3:
                ended.add(culprit)
                heir = await rig.worker("heir")
                while mates := await heir.claim(32):
                    for mate in mates:
                        await heir.start([mate])
                        await heir.settle([done(mate)])
                        ended.add(mate.id)
        found = {job.id: await rig.get(job) for job in jobs}
        assert (found[culprit].status, found.pop(culprit).crashes) == (Status.FAILED, 3)
        assert {(job.status, job.crashes) for job in found.values()} == {(Status.SUCCEEDED, 1)}


async def test_a_single_job_with_neighbours_is_not_convicted_by_a_lost_worker(
    redis_url: str,
) -> None:
    async with rig_on(redis_url, beat_limit_s=LIMIT_S, max_crashes=1) as rig:
        worker = await rig.worker()
        [first, second] = [await rig.submit() for _ in range(2)]
        [one] = await worker.claim(1, start=True)
        # The next batch is started behind the one on the device.
        [two] = await worker.claim(1)
        await worker.start([two])
        moved = await Burials(rig).bury(2)
        assert {moved[one.id].verdict, moved[two.id].verdict} == {"ok"}
        worker = await rig.worker("next")
        suspect = await alone(worker)
        moved = await Burials(rig).bury(1)
        assert moved[suspect.id].verdict == "poisoned"
        assert {first.id, second.id} == {one.id, two.id}


async def test_a_job_that_ends_machines_before_it_begins_is_found_out(redis_url: str) -> None:
    async with rig_on(redis_url, beat_limit_s=LIMIT_S) as rig:
        burials = Burials(rig)
        job = await rig.submit()
        for number in range(2):
            worker = await rig.worker(f"w{number}")
            [held] = await worker.claim(1)
            assert held.crashes == 0
            await burials.bury(1)
        assert (await rig.get(job)).crashes == 0
        for verdict in ("ok", "ok", "poisoned"):
            suspect = await alone(await rig.worker(f"w-{verdict}"))
            assert (await burials.bury(1))[suspect.id].verdict == verdict
        assert (await rig.get(job)).crashes == 3


async def test_one_that_nobody_canceled_does_not_go_on_running(rig: Rig) -> None:
    """A failover may forget a cancel that the worker has obeyed."""
    worker = await rig.worker()
    job = await rig.submit()
    [held] = await worker.claim(1, start=True)
    assert (await worker.settle([done(held, "canceled")]))[job.id] == "stale"
    back = await rig.get(job)
    assert (back.status, back.crashes) == (Status.QUEUED, 0)
    assert await rig.counts() == (1, 0)
    [again] = await worker.claim(1, start=True)
    assert again.token != held.token


async def test_a_worker_that_leaves_casts_no_suspicion(rig: Rig) -> None:
    await rig.submit()
    for _ in range(5):
        worker = await rig.worker()
        [job] = await worker.claim(1)
        assert job.crashes == 0
        await worker.leave()


async def test_a_cancel_of_a_job_whose_worker_vanished_ends_it_uncharged(redis_url: str) -> None:
    async with rig_on(redis_url, beat_limit_s=LIMIT_S) as rig:
        worker = await rig.worker()
        job = await rig.submit()
        [held] = await worker.claim(1, start=True)
        await rig.queue.cancel(job.id, "default")
        assert (await Burials(rig).bury(1))[job.id].verdict == "canceled"
        ended = await rig.get(job)
        assert (ended.status, ended.crashes) == (Status.CANCELED, 0)
        assert (await worker.settle([done(held)]))[job.id] == "stale"


async def progress_of(rig: Rig, job: Job) -> bytes | None:
    return (await rig.get(job)).progress


async def test_an_attempt_that_is_over_leaves_no_progress_behind(rig: Rig) -> None:
    worker = await rig.worker()
    job = await rig.submit()
    for kind in ("hand back", "retry"):
        [held] = await worker.claim(1, start=True)
        await worker.progress([(held.id, held.token, b'{"fraction":0.5}')])
        assert await progress_of(rig, job) == b'{"fraction":0.5}'
        if kind == "retry":
            await worker.settle([done(held, "retry", backoff_s=60.0)])
        else:
            await worker.hand_back([HandBack(held.id, held.token)])
        assert await progress_of(rig, job) is None


async def test_a_settle_is_told_already_only_of_its_own_outcome(rig: Rig) -> None:
    worker = await rig.worker()
    job = await rig.submit(deadline_s=1.5)
    [held] = await worker.claim(1)
    await asyncio.sleep(1.51)
    await rig.queue.sweep(SHARDS)
    assert (await rig.get(job)).status is Status.EXPIRED
    # The input was refused while the job expired in the worker's hands.
    assert (await worker.settle([done(held, "failed")]))[job.id] == "stale"


async def test_processes_that_waited_and_went_are_forgotten(rig: Rig) -> None:
    job = await rig.submit()
    key = f"hr:{{s017}}:job:{job.id}"
    gone = [f"hr:wake:{number:032}" for number in range(100)]
    await rig.connections.client.hset(key, "watch", " ".join(gone))
    await rig.queue.wait(job.id, "default", 0.01)
    watch = await rig.connections.client.hget(key, "watch")
    names = watch.decode().split()
    assert len(watch) <= 4096
    assert names == [*gone[1:], "hr:wake:test"]
