"""kill -9 in the middle of 2,000 jobs: the client's own ledger says that nothing was lost."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable

import pytest

from headrace.chaos.client import Client
from headrace.chaos.ledger import Ledger
from headrace.chaos.stack import Api, Process, Stack, alive, until

from .folders import MODELS

JOBS = 2000


class Victim:
    """Everything that may be killed."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.api: Api = stack.api(beat_limit_s="3")
        self.worker: Process = self._worker()
        self.api.ready("actor")

    def _worker(self) -> Process:
        return self.stack.worker(MODELS / "actor", beat_limit_s="3")

    def kill_engine(self) -> None:
        """The feeder is to start another."""
        os.kill(self.worker.engine(), signal.SIGKILL)

    def kill_feeder(self) -> None:
        """Somebody else is to start another: here, the test."""
        engine = self.worker.engine()
        self.worker.kill()
        until(lambda: not alive(engine), 5, "the engine ends with its feeder")
        self.worker = self._worker()

    def kill_redis(self) -> None:
        """Likewise."""
        self.stack.redis.kill()
        self.stack.start_redis()


KILLS: dict[str, Callable[[Victim], None]] = {
    "engine": Victim.kill_engine,
    "feeder": Victim.kill_feeder,
    "redis-server": Victim.kill_redis,
}


@pytest.mark.parametrize("name", KILLS)
def test_nothing_is_lost_and_each_job_has_one_outcome(own_stack: Stack, name: str) -> None:
    victim = Victim(own_stack)
    inputs = [{"name": str(number), "seconds": 0.002} for number in range(JOBS)]
    ledger = Ledger(own_stack.folder / "ledger.jsonl")
    client = Client([victim.api], ledger)
    submitting = threading.Thread(target=client.submit_all, args=("actor", inputs))
    submitting.start()
    for share in (0.2, 0.5):
        _until_done(client, int(JOBS * share))
        _until_running(victim.api)
        KILLS[name](victim)
    submitting.join()
    client.read_all()
    verdict = ledger.verdict()
    assert (verdict["accepted"], verdict["lost"], verdict["two_outcomes"]) == (JOBS, 0, 0), verdict
    assert verdict["statuses"] == {"succeeded": JOBS}, verdict
    names = {told["output"]["name"] for told in ledger.outcomes.values()}
    assert names == {str(number) for number in range(JOBS)}


def test_a_job_of_a_vanished_worker_is_queued_again_though_no_worker_is_left(
    own_stack: Stack,
) -> None:
    victim = Victim(own_stack)
    job = victim.api.submit("actor", {"name": "a", "seconds": 60})
    victim.api.reaches(job["id"], "running")
    victim.worker.kill()
    back = victim.api.reaches(job["id"], "queued", seconds=15)
    assert back["crashes"] == 1
    assert victim.api.call("GET", "/v1/models/actor/scale").json()["running"] == 0


def _until_done(client: Client, count: int) -> None:
    def enough() -> bool:
        time.sleep(0.1)
        client.read_once()
        return client.ledger.done >= count

    until(enough, 60, f"{count} jobs are done")


def _until_running(api: Api) -> None:
    until(lambda: api.call("GET", "/v1/models/actor/scale").json()["running"] >= 1, 10)
