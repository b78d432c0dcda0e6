"""Single calls while servers freeze, are demoted, move slots and fail over."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from statistics import median

import pytest

from jobs import keys
from jobs.bells import Bell
from jobs.cards import CardStore
from jobs.connection import RedisConnections
from jobs.errors import NotDurable, QueueUnavailable
from jobs.job import NewJob
from jobs.keystore import KeyStore
from jobs.listing import Filter
from jobs.policy import QueueOptions
from jobs.queue import JobQueue
from jobs.shards import shards_for_model
from jobs.states import Status
from jobs.worker_queue import Claimed, Outcome, WorkerQueue
from tests.redis_nodes import DURABLE, ClusterOf, Failover, Server, eventually, in_step, replica_of

OPTIONS = QueueOptions()
JOB = NewJob(model="echo", version="1", tenant="default", input=b"1")
KEYED = NewJob(
    model="echo", version="1", tenant="default", input=b"1", idempotency_key="k", fingerprint="f"
)
SHARDS = shards_for_model("echo", 4)


@pytest.fixture(scope="module")
def cluster() -> Iterator[ClusterOf]:
    with ClusterOf(3) as running:
        yield running


@pytest.fixture
def clean(cluster: ClusterOf) -> ClusterOf:
    """Three empty masters."""
    for master in cluster.masters:
        master.ask("FLUSHALL")
    return cluster


@asynccontextmanager
async def opened(
    url: str, shards: list[int], **options: str
) -> AsyncIterator[tuple[RedisConnections, JobQueue, WorkerQueue]]:
    async with (
        RedisConnections(url, **options) as connections,  # type: ignore[arg-type]
        JobQueue(connections, OPTIONS, process_id="p") as queue,
    ):
        worker = WorkerQueue(
            connections, OPTIONS, model="echo", version="1", shards=shards, worker="w"
        )
        yield connections, queue, worker


async def claim_all(worker: WorkerQueue, count: int) -> list[Claimed]:
    claimed: list[Claimed] = []
    async with asyncio.timeout(10):
        while len(claimed) < count:
            claimed += await worker.claim(count - len(claimed), start=True)
    return claimed


async def insist(queue: JobQueue, job: NewJob, shards: list[int], seconds: float = 40) -> str:
    """Submit until it is taken."""
    async with asyncio.timeout(seconds):
        while True:
            try:
                return (await queue.submit(job, shards=shards)).job.id
            except (QueueUnavailable, NotDurable):
                await asyncio.sleep(0.05)


async def well(connections: RedisConnections, seconds: float) -> None:
    """Wait until jobs can be accepted durably."""
    async with asyncio.timeout(seconds):
        while True:
            if await connections.healthy():
                return
            await asyncio.sleep(0.02)


async def test_all_of_the_queue_works_over_several_masters(clean: ClusterOf) -> None:
    async with opened(clean.url, SHARDS) as (connections, queue, worker):
        assert await connections.verify() == []
        assert len(await connections.by_node(SHARDS)) > 1
        await CardStore(connections).publish(b'{"shards":[1]}', model="echo", version="1")
        await KeyStore(connections).create()
        assert len(await KeyStore(connections).records()) == 1
        await worker.register({})
        bells = worker.listen()
        # One from each shard, also of the card: from now on its bells are heard.
        for _shard in [*SHARDS, 1]:
            assert await anext(bells) == Bell("jobs", "")
        jobs = [(await queue.submit(JOB, shards=[s])).job for s in SHARDS for _ in range(3)]
        rung = set()
        async with asyncio.timeout(10):
            while rung != {job.id[:7] for job in jobs}:
                rung.add((await anext(bells)).job[:7])
        await bells.aclose()  # type: ignore[attr-defined]
        waits = [asyncio.create_task(queue.wait(job.id, "default", 10)) for job in jobs]
        claimed = await claim_all(worker, len(jobs))
        assert not (await worker.beat([j.id for j in claimed], state="ready", stats={})).buried
        await worker.settle([Outcome(j.id, j.token, "succeeded", b"2") for j in claimed])
        assert {(await each).status for each in waits} == {Status.SUCCEEDED}
        page = await queue.listing.page(
            Filter(tenant="default", models={"echo": SHARDS}), limit=100
        )
        assert {job.id for job in page.jobs} == {job.id for job in jobs}
        assert await worker.adopt() == []
        assert await worker.sweep() == []
        walked = [key async for key in connections.client.scan_iter(match="hr:{s*job:job_*")]
        assert len(walked) == len(jobs)
        assert await connections.healthy()


async def test_a_slot_that_moves_is_refused_meanwhile_and_then_followed(clean: ClusterOf) -> None:
    async with opened(clean.url, SHARDS) as (connections, queue, _):
        shard = SHARDS[0]
        before = (await queue.submit(KEYED, shards=[shard])).job
        prefix = keys.shard_prefix("hr", shard)
        slot = clean.masters[0].ask("CLUSTER", "KEYSLOT", prefix)
        [node] = await connections.by_node([shard])
        source = next(m for m in clean.masters if node.address.endswith(f":{m.port}"))
        target = next(m for m in clean.masters if m is not source)
        names = [server.ask("CLUSTER", "MYID").decode() for server in (source, target)]
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", names[0])
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", names[1])
        with pytest.raises(QueueUnavailable):
            await queue.submit(KEYED, shards=[shard])
        found = source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100)
        source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *found)
        for server in (target, source, *clean.masters):
            server.ask("CLUSTER", "SETSLOT", slot, "NODE", names[1])
        again = await queue.submit(KEYED, shards=[shard])
        assert (again.job.id, again.replayed) == (before.id, True)
        await queue.submit(JOB, shards=[shard])


async def test_a_dead_master_costs_the_other_shards_nothing() -> None:
    with ClusterOf(3) as cluster:
        async with opened(cluster.url, SHARDS) as (connections, queue, worker):
            await worker.register({})
            [dead, *_] = nodes = await connections.by_node(SHARDS)
            alive = [s for node, own in nodes.items() if node is not dead for s in own]
            for shard in SHARDS:
                await queue.submit(JOB, shards=[shard])
            killed = next(m for m in cluster.masters if dead.address.endswith(f":{m.port}"))
            # Else the others, too, refuse writes after the node timeout.
            for master in cluster.masters:
                master.ask("CONFIG", "SET", "cluster-require-full-coverage", "no")
            killed.kill()
            with pytest.raises(QueueUnavailable):
                await queue.submit(JOB, shards=nodes[dead])
            took_s = []
            # The middle one tells: a busy machine may hold up any.
            for _ in range(5):
                began = time.monotonic()
                with pytest.raises(QueueUnavailable):
                    await queue.submit(JOB, shards=nodes[dead])
                took_s.append(time.monotonic() - began)
            assert median(took_s) < 0.5
            claimed = await claim_all(worker, len(alive))
            # One whose answer was lost on a server that is well is found all the same.
            forgotten, *held = claimed
            for unheld in ([], [(forgotten.id, forgotten.token)]):
                answer = await worker.beat([j.id for j in held], state="ready", stats={})
                assert answer.owned_not_held == unheld
                assert isinstance(answer.failure, QueueUnavailable)
            await worker.sweep()
            await worker.adopt()
            assert not await connections.healthy()
            killed.start()
            await insist(queue, JOB, nodes[dead])
            claimed += await claim_all(worker, len(SHARDS) - len(claimed))
            verdicts = await worker.settle(
                [Outcome(j.id, j.token, "succeeded", b"2") for j in claimed]
            )
            assert set(verdicts.values()) == {"ok"}


async def test_sentinels_lead_from_the_old_master_to_the_new() -> None:
    with Failover() as group:
        async with opened(group.url, [17], durability="replicated") as (connections, queue, _):
            first = await insist(queue, KEYED, [17])
            old = group.master
            [before] = await connections.masters()
            # In order, the old one stays up and is demoted: connections to it are all alive.
            group.sentinels[0].ask("SENTINEL", "FAILOVER", group.NAME)
            await asyncio.to_thread(eventually, lambda: group.replaced(old), 30)
            await asyncio.to_thread(eventually, lambda: in_step(group.master), 40)
            assert await insist(queue, KEYED, [17]) == first
            [after] = await connections.masters()
            assert before.retired
            assert after.address.endswith(f":{group.master.port}")
            await well(connections, 20)
            # The subscription has found the new master, too.
            waiting = asyncio.create_task(queue.wait(first, "default", 20))
            await queue.cancel(first, "default")
            assert (await waiting).status is Status.CANCELED


async def test_without_a_replica_nothing_is_accepted_or_accepted_twice() -> None:
    with Server(*DURABLE) as master:
        async with opened(f"redis://127.0.0.1:{master.port}", [17], durability="replicated") as (
            connections,
            queue,
            _,
        ):
            [warning] = await connections.verify()
            assert f"REPLICAOF 127.0.0.1 {master.port}" in warning
            with pytest.raises(NotDurable, match="REPLICAOF"):
                await connections.check()
            for _again in range(2):
                with pytest.raises(NotDurable):
                    await queue.submit(KEYED, shards=[17])
            with replica_of(master, *DURABLE) as replica:
                await asyncio.to_thread(eventually, lambda: in_step(master), 20)
                assert await connections.verify() == []
                job = await insist(queue, KEYED, [17])
                replica.freeze()
                # Written long ago; but who says so must know that another server has it.
                with pytest.raises(NotDurable):
                    await queue.submit(JOB, shards=[17])
                with pytest.raises(NotDurable):
                    await queue.get(job, "default")
                replica.thaw()
                assert await insist(queue, KEYED, [17]) == job
            assert master.ask("HGET", "hr:{s017}:counts:echo", "queued") == b"2"


async def test_a_demoted_master_behind_a_plain_url_is_left_and_taken_again() -> None:
    with Server(*DURABLE) as server, Server(*DURABLE) as other:
        async with opened(f"redis://127.0.0.1:{server.port}", [17]) as (_, queue, _worker):
            await queue.submit(JOB, shards=[17])
            server.ask("REPLICAOF", "127.0.0.1", other.port)
            with pytest.raises(QueueUnavailable) as caught:
                await queue.submit(JOB, shards=[17])
            assert caught.value.retry_after_s
            server.ask("REPLICAOF", "NO", "ONE")
            await queue.submit(JOB, shards=[17])


async def test_a_frozen_server_costs_the_first_call_its_patience_and_no_other(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("jobs.connection.SOCKET_TIMEOUT_S", 1.0)
    with Server(*DURABLE) as server:
        url = f"redis://127.0.0.1:{server.port}"
        async with RedisConnections(url, fail_fast=True) as connections:
            assert await connections.healthy()
            server.freeze()
            began = time.monotonic()
            first = [asyncio.create_task(connections.healthy()) for _ in range(40)]
            assert await asyncio.gather(*first) == [False] * 40
            # Those that waited for a connection are told together with those that had one.
            assert time.monotonic() - began < 1.9
            for _ in range(20):
                began = time.monotonic()
                with pytest.raises(QueueUnavailable, match="has not answered") as caught:
                    await connections.check()
                assert time.monotonic() - began < 0.5
                assert 1 <= (caught.value.retry_after_s or 0) <= 10
            server.thaw()
            await well(connections, 2)
