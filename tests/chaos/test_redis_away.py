"""Redis goes away with 500 jobs in flight, or freezes: nothing is lost and nothing runs twice."""

from __future__ import annotations

import signal
import time
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from headrace.chaos.stack import Stack, free_port
from jobs.connection import SOCKET_TIMEOUT_S
from jobs.waiters import LOOK_AGAIN_S, PATIENCE_S

from .outage import HELD, WORKERS, Held, Outage, in_flight, refused
from .sizes import report

JOBS = 500
#: How long a job runs, in seconds; half of a second leaves hundreds of them for the outage.
RUNS_S = 0.4
#: A machine that does other things as well is late by so much.
LATE_S = 3.0


@pytest.mark.timeout(240)
def test_redis_is_away_for_a_minute(stack: Stack) -> None:
    with in_flight(stack, JOBS, RUNS_S) as outage, ThreadPoolExecutor(2 * HELD) as pool:
        held = outage.hold(pool, RUNS_S)
        outage.began = time.monotonic()
        stack.redis.kill()
        waited = let_go(outage, held)
        outage.sit_out(60, blind_s=1)
        stack.start_redis()
        judge("redis away 60 s, killed", outage, waited, PATIENCE_S + LATE_S)


@pytest.mark.timeout(240)
def test_redis_is_frozen_for_longer_than_a_worker_may_be_silent(stack: Stack) -> None:
    with in_flight(stack, JOBS, RUNS_S) as outage, ThreadPoolExecutor(2 * HELD) as pool:
        held = outage.hold(pool, RUNS_S)
        outage.began = time.monotonic()
        stack.redis.signal(signal.SIGSTOP)
        outage.sit_out(25, blind_s=SOCKET_TIMEOUT_S + 1.2 + LATE_S)
        waited = let_go(outage, held)
        stack.redis.signal(signal.SIGCONT)
        judge("redis frozen 25 s", outage, waited, LOOK_AGAIN_S + SOCKET_TIMEOUT_S + LATE_S)


@pytest.mark.parametrize("frozen", [False, True])
def test_an_api_that_starts_while_redis_is_away_serves_once_it_is_there(
    stack: Stack, frozen: bool
) -> None:
    if frozen:
        stack.redis.signal(signal.SIGSTOP)
    else:
        stack.redis.kill()
    port = str(free_port())
    api = stack.api(metrics_port=port)
    refused(api.post("chaos", {"n": 1}))
    refused(api.call("GET", "/healthz"))
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as scraped:
        assert "headrace_redis_up 0.0" in scraped.get("/metrics").text
        if frozen:
            stack.redis.signal(signal.SIGCONT)
        else:
            stack.start_redis()
        stack.worker()
        api.ready("chaos")
        assert api.run("chaos", {"n": 1})["status"] == "succeeded"
        assert "headrace_redis_up 1.0" in scraped.get("/metrics").text


def let_go(outage: Outage, held: list[Held]) -> float:
    """Check what held requests were told; return after how many seconds the last of them was."""
    last = 0.0
    for each in held:
        answer, at = each.answer.result(70)
        last = max(last, at - outage.began)
        if each.job is None:
            # It was accepted before: anything but 202 would make the client send it again.
            assert (answer.status_code, answer.json()["status"]) == (202, "queued"), answer.text
            outage.ledger.accept(answer.json()["id"])
        else:
            refused(answer)
            assert answer.json()["job_id"] == each.job
    return last


def judge(gate: str, outage: Outage, waited: float, waits_s: float) -> None:
    """Redis is back: everything goes on by itself, and the books agree."""
    outage.ended = time.monotonic()
    api, accepted = outage.api, outage.ledger.everything()
    outage.client.submit("chaos", {"n": -3}, "after")
    assert api.get(accepted[-1], wait=60)["status"] == "succeeded"
    outage.client.read_all(90)
    found = outage.verdict()
    at_once, resumed = max(outage.took), outage.resumed_after()
    held = (
        found["lost"] == found["two_outcomes"] == found["ran_again"] == found["charged"] == 0
        and found["statuses"] == {"succeeded": JOBS + 2 * HELD + 1}
        and found["other_output"] == 0
        and found["engines"] == WORKERS
        and found["running_then"] > 0
        and found["ended_meanwhile"] >= found["running_then"]
        and waited < waits_s
        and at_once < 1 + LATE_S
        and resumed < 2 + LATE_S
    )
    times = {"last_wait_s": waited, "slowest_answer_s": at_once, "claims_after_s": resumed}
    report(gate, held, **found, **{name: round(each, 2) for name, each in times.items()})
    assert held
