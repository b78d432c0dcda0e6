"""The master dies under load and Sentinels make its replica the master, for each durability.

With `replicated` nothing that was acknowledged is lost. With the others a failover takes what the
replica did not have yet: that is counted, and must be of the last moments before the death.
"""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest

from headrace.chaos.client import Client
from headrace.chaos.ledger import Ledger
from headrace.chaos.stack import Stack
from tests.redis_nodes import Failover, Server, eventually, in_step

from .sizes import report, size
from .steady_load import MODEL, SteadyLoad

#: A replica on this machine is so far behind at the most, in seconds, even when all is busy.
_LAG_S = 3.0

#: The old master, and from when to when (wall) it was dying.
Death = tuple[Server, float, float]

SETTINGS = {
    "always": ("--appendonly", "yes", "--appendfsync", "always", "--save", ""),
    "everysec": ("--appendonly", "yes", "--appendfsync", "everysec", "--save", ""),
    "replicated": ("--appendonly", "no", "--save", ""),
}


def more(load: SteadyLoad, jobs: int, seconds: float = 60.0) -> None:
    """Wait until so many more jobs were accepted."""
    wanted = load.accepted() + jobs
    eventually(lambda: load.accepted() >= wanted or load.failures, seconds)


def lose_master(group: Failover, how: str, load: SteadyLoad, durability: str) -> Death:
    """Let the master die or hang, and wait for the next one."""
    old, began = group.master, time.time()
    [replica] = [server for server in group.servers if server is not old]
    if how == "freeze":
        old.freeze()
    else:
        # The replica is cut off shortly before, as it may be on a machine that is busy or a net
        # that fails with it: without waiting for it, what is acknowledged now is lost.
        replica.freeze()
        old.ask("CLIENT", "KILL", "TYPE", "replica")
        if durability == "replicated":
            time.sleep(0.5)
        else:
            more(load, 20)
        old.kill()
        replica.thaw()
    ended = time.time()
    eventually(lambda: group.replaced(old), 30)
    return old, began, ended


def bring_back(group: Failover, old: Server, how: str) -> None:
    """Let the old master come back: it has to become a replica of the new one."""
    if how == "kill":
        old.start()
    else:
        old.thaw()
    eventually(lambda: old.role == "slave" and in_step(group.master), 40)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("durability", SETTINGS)
def test_a_failover_loses_no_more_than_was_said(durability: str, tmp_path: Path) -> None:
    rounds = (
        ["kill", "freeze"] * size("sentinel_failovers") if durability == "replicated" else ["kill"]
    )
    with (
        Failover(*SETTINGS[durability]) as group,
        Stack(redis_url=group.url, durability=durability) as stack,
    ):
        apis = [stack.api(), stack.api()]
        workers = [stack.worker(data_dir=str(tmp_path / name)) for name in ("a", "b")]
        apis[0].ready(MODEL)
        client = Client(apis, Ledger(tmp_path / "ledger.jsonl"), connections=6)
        deaths = []
        with SteadyLoad(client) as load:
            for how in rounds:
                more(load, 100)
                old, *when = lose_master(group, how, load, durability)
                deaths.append(when)
                if durability == "replicated":
                    # Nothing is accepted meanwhile: the new master has no replica.
                    bring_back(group, old, how)
                more(load, 100)
        assert not load.failures
        read_all(client)
        assert all(worker.running for worker in workers)
        counts = verdict(client.ledger, deaths)
        held = not counts["unexplained"]
        if durability == "replicated":
            held = held and not counts["lost"] and not counts["two_outcomes"]
        else:
            # An outcome that was told shortly before may be lost as a job may: then the job runs
            # again. That something is lost shows that a loss would be seen.
            held = held and bool(counts["lost"])
        report(f"sentinel {durability}", held, failovers=len(deaths), **counts)
        assert held, json.dumps(counts)


def read_all(client: Client, seconds: float = 90) -> None:
    """Read until each job has an outcome or is gone, and all once more."""
    end = time.monotonic() + seconds
    while not client.ledger.gone.issuperset(client.ledger.open()) and time.monotonic() < end:
        client.read_once()
    client.read_once(again=True)


def verdict(ledger: Ledger, deaths: list[list[float]]) -> dict[str, Any]:
    """Count what was lost or undone, and what of it no death of a master explains."""
    accepted, ended_at = {}, {}
    for line in ledger.path.read_text().splitlines():
        entry = json.loads(line)
        if "accepted" in entry:
            accepted[entry["accepted"]] = entry["at"]
        elif "final" in entry:
            ended_at.setdefault(entry["final"], entry["at"])
    # Told shortly before a death, or just when the old master was still believed.
    lost = {job: accepted[job] for job in ledger.gone.union(ledger.open())}
    undone = {job: ended_at[job] for job in ledger.changed}
    early = [
        at
        for at in (*lost.values(), *undone.values())
        if not any(began - _LAG_S <= at <= ended + _LAG_S for began, ended in deaths)
    ]
    return {**ledger.verdict(), "unexplained": len(early)}
