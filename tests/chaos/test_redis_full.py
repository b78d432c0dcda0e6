"""Redis runs out of memory: submits are refused early, accepted jobs end, new ones are taken."""

from __future__ import annotations

import time
from typing import Any

import pytest
import redis

from api.reserve import MEMORY_LIMIT
from headrace.chaos.ledger import Ledger
from headrace.chaos.process import until
from headrace.chaos.stack import Stack

from .filling import BULKY, KEPT_S, KIB, MIB, MODEL, Clients, learned, watched
from .sizes import report

MAX_MEMORY = 64 * MIB
DRAINS_S = 60
#: One that is never found full, since nothing is refused, does not end by itself.
MOST = 3000


def run(gate: str, given: dict[str, Any], *, learn: int, highest: float) -> None:
    """Fill Redis with jobs while no worker runs, drain it with one, and see it take jobs again."""
    place = ("--maxmemory", str(MAX_MEMORY))
    with Stack(redis_args=place, result_ttl_s=str(KEPT_S)) as stack:
        # Several processes, none of which knows what the others let in.
        api = stack.api(api_workers="2")
        ledger = Ledger(stack.folder / "ledger.jsonl")
        clients = Clients([api], ledger)
        worker = stack.worker(BULKY)
        api.ready(MODEL)
        client = redis.Redis.from_url(stack.redis_url)
        pid = stack.redis.pid

        def used() -> float:
            return float(client.info("memory")["used_memory"]) / MAX_MEMORY

        with watched(used) as peak, clients.reading():
            clients.flood(lambda _: given, learn)
            clients.drained(DRAINS_S)
            until(lambda: not learn or learned(stack.redis_url) > 10 * KIB, 20, "a learned size")
            worker.stop()
            time.sleep(2)
            flooded = clients.flood(lambda _: given, MOST)
            filled = peak[0]
            stack.worker(BULKY)
            clients.drained(DRAINS_S)
            again_s = clients.taken_again(given, KEPT_S + 30)
            clients.drained(DRAINS_S)
        verdict = ledger.verdict()
        held = (
            verdict["lost"] == verdict["two_outcomes"] == 0
            and not clients.wrong
            and "queue_full" in verdict["refused"]
            and verdict["statuses"] == {"succeeded": verdict["accepted"]}
            and 0 < flooded < MOST
            and filled < MEMORY_LIMIT + 0.1
            and peak[0] < highest
            and again_s < KEPT_S + 30
            and (stack.redis.running, stack.redis.pid) == (True, pid)
        )
        shown = {"filled": f"{filled:.0%}", "peak": f"{peak[0]:.0%}"}
        report(gate, held, **verdict, flooded=flooded, again_s=round(again_s, 1), **shown)
        assert held, clients.wrong
        client.close()
        ledger.close()


@pytest.mark.timeout(200)
def test_a_flood_of_large_inputs_does_not_run_over() -> None:
    """They are claimed and read many at a time, and copied into answers: that passes."""
    run("redis full of inputs", {"pad": "x" * 900 * KIB}, learn=0, highest=1.6)


@pytest.mark.timeout(200)
def test_small_jobs_with_large_results_leave_room_for_them() -> None:
    """Let in by what is there alone, 70 % of these would need a hundred times the memory."""
    run("redis full of results", {"size": 200 * KIB}, learn=20, highest=1.1)
