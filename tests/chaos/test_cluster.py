"""A model on four shards of a Cluster: masters die and come back, or their replicas take over."""

from __future__ import annotations

import json
import shutil
import time
from pathlib import Path

import pytest

from headrace.chaos.client import Client
from headrace.chaos.ledger import Ledger
from headrace.chaos.stack import CHAOS_MODEL, Stack
from tests.redis_nodes import ClusterOf, eventually, in_step

from .sizes import report, size
from .steady_load import MODEL, SteadyLoad


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """The chaos model, on four shards."""
    folder = tmp_path / MODEL
    shutil.copytree(CHAOS_MODEL, folder, ignore=shutil.ignore_patterns("__pycache__"))
    with (folder / "model.toml").open("a") as file:
        file.write("\nshards = 4\n")
    return folder


def more(load: SteadyLoad, jobs: int, seconds: float = 60.0) -> None:
    """Wait until so many more jobs were accepted."""
    wanted = load.accepted() + jobs
    eventually(lambda: load.accepted() >= wanted or load.failures, seconds)


@pytest.mark.timeout(240)
@pytest.mark.parametrize("how", ["restart", "failover"])
def test_masters_die_and_no_job_is_lost(how: str, model: Path, tmp_path: Path) -> None:
    durability = "always" if how == "restart" else "replicated"
    with (
        ClusterOf(3, replicas=int(how == "failover")) as cluster,
        Stack(redis_url=cluster.url, durability=durability) as stack,
    ):
        apis = [stack.api(), stack.api()]
        workers = [stack.worker(model, data_dir=str(tmp_path / name)) for name in ("a", "b")]
        apis[0].ready(MODEL)
        client = Client(apis, Ledger(tmp_path / "ledger.jsonl"), connections=6)
        with SteadyLoad(client) as load:
            for number in range(size("cluster_kills") if how == "restart" else 1):
                more(load, 60)
                master = cluster.masters[number % 3]
                master.kill()
                if how == "restart":
                    time.sleep(1.0)
                else:
                    eventually(lambda: cluster.replicas[0].role == "master", 30)
                master.start()
                eventually(cluster.serves, 30)
                if how == "failover":
                    eventually(lambda: in_step(cluster.replicas[0]), 30)
            more(load, 60)
        assert not load.failures
        client.read_all(90)
        assert all(worker.running for worker in workers)
        counts = client.ledger.verdict()
        shards = {job[4:7] for job in client.ledger.accepted}
        held = not counts["lost"] and not counts["two_outcomes"] and len(shards) == 4
        report(f"cluster {how}", held, shards=len(shards), **counts)
        assert held, json.dumps(counts)
