"""Receivers that misbehave: each is tried as the schedule says, and a healthy one hardly notices.

Everything is real but the length of the delays: the sender, RQ's worker, which is killed between
tries, and its cron. The healthy one is always timed at a thousandth of the delays: at less, what is
timed is above all the work that the others make for RQ in a few seconds instead of hours.
"""

from __future__ import annotations

import contextlib
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.chaos.api import Api
from headrace.chaos.crew import Supervisor
from headrace.chaos.process import Process, until
from headrace.chaos.receiver import SECRET
from headrace.chaos.stack import Stack
from headrace.chaos.traffic import MODEL

from .sizes import FULL, report
from .zoo import ENDLESS, FAILS_FIRST, KINDS, Zoo

#: In CI three days take half a minute, in full a quarter of an hour less ten.
SCALE = 1e-3 if FULL else 1e-4
TIMED_SCALE = 1e-3
#: A call may take so long, in seconds; where outcomes are compared, a busy machine must not make
#: a timeout of what answers.
TIMEOUT_S, PATIENT_S = 1.0, 1.5
#: All delays of the schedule, the longest jitter, the timeouts, and what RQ and its deaths add: a
#: busy machine starts it again slowly, and a minute is lost with each lock.
LONGEST_S = 272_105 * SCALE * 1.2 + 10 * PATIENT_S + 240
#: RQ's lock of one that was killed lasts a minute; until then the cron finds what is due.
KILL_EVERY_S = 20.0
EACH = 3
#: Healthy calls that are timed, alone and beside the others.
TIMED = 150
ROUNDS = 4
EVERY_S = 0.03
#: kind -> how many tries, how it ends, and what each failed try says.
EXPECTED: dict[str, tuple[int, str, str]] = {
    "fails_first": (FAILS_FIRST + 1, "delivered", "status_500"),
    "slow_down": (2, "delivered", "status_429"),
    "redirects": (10, "failed", "redirect"),
    "hangs": (10, "failed", "timeout"),
    "drips": (10, "failed", "timeout"),
    "endless": (1, "delivered", ""),
    "bomb": (1, "delivered", ""),
    "tls": (10, "failed", "tls"),
    "resets": (10, "failed", "reset"),
}


def submit(api: Api, zoo: Zoo, kind: str) -> str:
    webhook = {"url": zoo.url(kind), "secret": SECRET}
    job = api.submit(MODEL, {"n": 0, "seconds": 0.0, "do": "return"}, webhook=webhook)
    return str(job["id"])


def timed(api: Api, zoo: Zoo) -> float:
    """Return how late healthy calls come at most, but for one of a hundred; in seconds."""
    jobs = []
    for _ in range(TIMED):
        jobs.append(submit(api, zoo, "healthy"))
        time.sleep(EVERY_S)
    until(lambda: all(job in zoo.late for job in jobs), 60, "healthy calls")
    return sorted(zoo.late[job] for job in jobs)[int(TIMED * 0.99)]


def deliveries(api: Api, job: str) -> list[dict[str, Any]]:
    answer = api.call("GET", f"/v1/jobs/{job}/webhooks")
    assert answer.status_code == 200, answer.text
    return list(answer.json()["data"])


def ended(api: Api, jobs: list[str]) -> bool:
    # A job has none until a sender has taken its event up.
    found = (deliveries(api, job) for job in jobs)
    return all(each and all(one["status"] != "pending" for one in each) for each in found)


def wrong_with(api: Api, kind: str, jobs: list[str]) -> list[str]:
    tries, status, why = EXPECTED[kind]
    wrong = []
    for job in jobs:
        [delivery] = deliveries(api, job)
        outcomes = [each["outcome"] for each in delivery["tries"]]
        expected = [why] * (tries - (status == "delivered"))
        expected += ["delivered"] if status == "delivered" else []
        if (delivery["status"], outcomes) != (status, expected):
            wrong.append(f"{kind}: {delivery['status']} {outcomes}")
    return wrong


def kill_now_and_then(process: Process, supervisor: Supervisor, over: threading.Event) -> None:
    while not over.wait(KILL_EVERY_S):
        if process.running:
            supervisor.condemn(process.pid)
            process.signal(signal.SIGKILL)


def memory_of(process: Process) -> int:
    """Return the most memory that a process has had, in bytes."""
    text = Path(f"/proc/{process.pid}/status").read_text()
    [line] = [line for line in text.splitlines() if line.startswith("VmHWM")]
    return int(line.split()[1]) * 1024


@contextlib.contextmanager
def beset(
    stack: Stack, zoo: Zoo, scale: float, timeout_s: float
) -> Iterator[tuple[Api, dict[str, Process]]]:
    """Run an API, a worker and all of webhooks, which have made a call; yield API and webhooks."""
    api, _ = stack.api(), stack.worker()
    given = {"webhook_delay_scale": str(scale), "webhook_timeout_s": str(timeout_s)}
    parts = {name: stack.webhooks(name, **given) for name in ("sender", "retries", "cron")}
    api.ready(MODEL)
    submit(api, zoo, "healthy")
    until(lambda: len(zoo.late), 60, "the first call")
    yield api, parts


def submit_all(api: Api, zoo: Zoo) -> dict[str, list[str]]:
    bad = [kind for kind in KINDS if kind != "healthy"]
    return {kind: [submit(api, zoo, kind) for _ in range(EACH)] for kind in bad}


@pytest.mark.timeout(600)
def test_a_healthy_one_hardly_notices_the_others() -> None:
    with (
        Stack(webhook_allow="127.0.0.0/8") as stack,
        Zoo(stack.folder) as zoo,
        beset(stack, zoo, TIMED_SCALE, TIMEOUT_S) as (api, _),
    ):
        alone = min(timed(api, zoo) for _ in range(ROUNDS))
        submit_all(api, zoo)
        # What else this machine does falls into some rounds; they would fall into all.
        beside = min(timed(api, zoo) for _ in range(ROUNDS))
        held = beside < 2 * alone
        figures = {"p99_ms": round(alone * 1000, 1), "beside_p99_ms": round(beside * 1000, 1)}
        report("webhook_healthy_beside_zoo", held, scale=TIMED_SCALE, **figures)
        assert held, figures


@pytest.mark.timeout(1500)
def test_each_is_tried_as_the_schedule_says() -> None:
    with (
        Stack(webhook_allow="127.0.0.0/8") as stack,
        Zoo(stack.folder) as zoo,
        beset(stack, zoo, SCALE, PATIENT_S) as (api, parts),
    ):
        sender, retries, cron = parts["sender"], parts["retries"], parts["cron"]
        over = threading.Event()
        began = time.monotonic()
        with Supervisor({"retries": retries, "cron": cron}) as supervisor:
            thread = threading.Thread(target=kill_now_and_then, args=(retries, supervisor, over))
            thread.start()
            try:
                jobs = submit_all(api, zoo)
                every = [job for some in jobs.values() for job in some]
                until(lambda: ended(api, every), LONGEST_S, "every delivery has ended")
            finally:
                over.set()
                thread.join()
        wrong = [each for kind in EXPECTED for each in wrong_with(api, kind, jobs[kind])]
        gone = {deliveries(api, job)[0]["status"] for job in jobs["gone"]}
        largest = memory_of(sender)
        spread = [
            f"{kind}: {len(calls)} ids" for kind, calls in zoo.calls.items()
            if kind != "healthy" and len(calls) > EACH
        ]  # fmt: skip
        wrong += spread
        # A small part of it stands in the buffers of two sockets.
        read = zoo.sent / EACH
        held = (
            not wrong
            and gone == {"disabled"}
            and len(zoo.calls["gone"]) <= EACH
            and sender.running
            and read < ENDLESS / 20
            and largest < 200 << 20
        )
        report(
            "webhook_zoo",
            held,
            scale=SCALE,
            read_of_endless=int(read),
            sender_mb=largest >> 20,
            deaths=len(supervisor._condemned),
            seconds=round(time.monotonic() - began, 1),
            wrong=len(wrong),
        )
        assert held, wrong
