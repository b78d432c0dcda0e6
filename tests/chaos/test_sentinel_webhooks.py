"""The master dies under sender, retries and cron, which ask Sentinels: every end is told."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from headrace.chaos.client import Client
from headrace.chaos.ledger import Ledger
from headrace.chaos.receiver import Receiver
from headrace.chaos.stack import Api, Stack, until
from headrace.chaos.telling import LATE_S, owed, untold
from headrace.chaos.traffic import MODEL
from tests.redis_nodes import Failover, Server, in_step

from .sizes import report

BATCH = 60


def submit(client: Client, receiver: Receiver, first: int) -> set[str]:
    """Submit a batch whose ends are to be told; return its jobs."""
    inputs = [{"n": first + n, "seconds": 0.01, "do": "return"} for n in range(BATCH)]
    told = {"about": [{"tells": True}] * BATCH, "webhook": receiver.webhook()}
    return {*client.submit_batch(MODEL, inputs, first, **told)[1]}


def told_some(client: Client, receiver: Receiver, first: int) -> None:
    """Submit a batch and wait until the end of one job was told."""
    before = len(receiver.told)
    submit(client, receiver, first)
    until(lambda: len(receiver.told) > before, 30, "some are told")


def replace(group: Failover, how: str) -> None:
    """Let the master die or hang, and the old one come back as a replica."""
    old: Server = group.master
    if how == "freeze":
        old.freeze()
    else:
        old.kill()
    until(lambda: group.replaced(old), 30, "another master")
    if how == "freeze":
        old.thaw()
    else:
        old.start()
    until(lambda: old.role == "slave" and in_step(group.master), 40, "a replica again")


def retries(api: Api, jobs: set[str]) -> int:
    """How many deliveries were tried more than once."""
    found = [api.call("GET", f"/v1/jobs/{job}/webhooks").json()["data"] for job in jobs]
    return sum(len(delivery["tries"]) > 1 for each in found for delivery in each)


@pytest.mark.timeout(300)
def test_every_end_is_told_over_failovers_and_rq_goes_on_at_the_new_master(tmp_path: Path) -> None:
    with (
        Failover() as group,
        Stack(redis_url=group.url, durability="replicated", webhook_allow="127.0.0.0/8") as stack,
        # A fifth of the calls fails, and each that failed is RQ's to bring back.
        Receiver(tmp_path / "events.jsonl", fails=0.2) as receiver,
    ):
        api, _ = stack.api(), stack.worker(data_dir=str(tmp_path / "data"))
        parts = {name: stack.webhooks(name) for name in ("sender", "retries", "cron")}
        api.ready(MODEL)
        client = Client([api], Ledger(tmp_path / "ledger.jsonl"))
        for number, how in enumerate(("kill", "freeze")):
            told_some(client, receiver, number * BATCH)
            replace(group, how)
        client.read_all(60)
        until(lambda: owed(client.ledger) <= receiver.told, LATE_S, "every end is told")
        wrong = untold(client.ledger, receiver)

        # Without the cron: then what is told after a failed try, RQ's worker has brought back.
        assert parts.pop("cron").stop(20) == 0
        jobs = submit(client, receiver, 2 * BATCH)
        client.read_all(60)
        until(lambda: jobs <= receiver.told, LATE_S, "RQ brings back what failed")
        tried_again = retries(api, jobs)
        wrong += untold(client.ledger, receiver)
        alive = all(part.running for part in parts.values())
        held = not wrong and alive and tried_again > 0
        report("sentinel webhooks", held, events=len(receiver.events), tried_again=tried_again)
        assert held, json.dumps([wrong[:9], alive, tried_again])
        assert all(part.stop(20) == 0 for part in parts.values())
