"""A receiver that is well is told everything, soon; one that is dead for a day, in the end."""

from __future__ import annotations

import base64
import math
import time
from pathlib import Path

import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from headrace.chaos.api import Api
from headrace.chaos.process import until
from headrace.chaos.receiver import SECRET, Receiver
from headrace.chaos.stack import Stack
from headrace.chaos.traffic import MODEL

from .sizes import report, size

BATCH = 1000
#: Of the schedule: seconds in a day, and to the try after a day of failures (5 s to 14 h).
DAY_S, AFTER_A_DAY_S = 86_400, 113_705
#: A day takes half a minute.
SCALE = 1 / 3600
#: What the jitter, RQ's seconds and a busy machine add.
SLACK_S = 6.0


def by_the_reference(headers: dict[str, str], body: bytes) -> bool:
    """Whether the library that receivers use takes it."""
    try:
        Webhook(base64.b64encode(SECRET.encode()).decode()).verify(body, headers)
    except WebhookVerificationError:
        return False
    return True


def submitted(api: Api, count: int, receiver: Receiver) -> set[str]:
    """Submit so many jobs that are told of; return their ids."""
    jobs: set[str] = set()
    given = {"n": 0, "seconds": 0.0, "do": "return"}
    for first in range(0, count, BATCH):
        hook = {**receiver.webhook(), "events": ["job.succeeded"]}
        inputs = [given] * min(BATCH, count - first)
        body = {"inputs": inputs, "webhook": hook}
        answer = api.call("POST", f"/v1/models/{MODEL}/jobs/batch", json=body)
        assert answer.status_code == 202, answer.text
        jobs |= {job["id"] for job in answer.json()["jobs"]}
    return jobs


def book(stack: Stack) -> Path:
    return stack.folder / "events.jsonl"


@pytest.mark.timeout(300)
def test_a_receiver_that_is_well_is_told_everything_as_the_reference_verifies_it() -> None:
    count = size("webhook_healthy")
    with (
        Stack(webhook_allow="127.0.0.0/8") as stack,
        Receiver(book(stack), verified=by_the_reference) as receiver,
    ):
        api, _ = stack.api(), stack.worker()
        stack.webhooks("sender")
        api.ready(MODEL)
        began = time.monotonic()
        jobs = submitted(api, count, receiver)
        until(lambda: receiver.told >= jobs, 120, "everything is told")
        seconds = time.monotonic() - began
        held = not receiver.wrong and len(receiver.events) == len(jobs) == count
        figures = {"events": len(receiver.events), "calls": receiver.calls}
        report("webhooks_healthy", held, jobs=count, seconds=round(seconds, 1), **figures)
        assert held, receiver.wrong[:9]


@pytest.mark.timeout(200)
def test_a_receiver_that_was_dead_for_a_day_is_told_all_and_finds_all_the_jobs() -> None:
    count = size("webhook_dead_day")
    with (
        Stack(webhook_allow="127.0.0.0/8") as stack,
        Receiver(book(stack), opens_at=math.inf) as receiver,
    ):
        api, _ = stack.api(), stack.worker()
        for part in ("sender", "retries", "cron"):
            stack.webhooks(part, webhook_delay_scale=str(SCALE))
        api.ready(MODEL)
        jobs = submitted(api, count, receiver)
        began = time.time()
        # Not before: a slow start would be a part of the day.
        receiver.opens_at = began + DAY_S * SCALE
        latest_s = AFTER_A_DAY_S * SCALE * 1.2
        until(lambda: receiver.told >= jobs, latest_s + 60, "everything is told")
        late = max(receiver.came.values()) - began
        links = {api.call("GET", f"/v1/jobs/{job}").status_code for job in jobs}
        # Each was refused for a day, and tried as the schedule has it, not more often.
        tries = [
            len(api.call("GET", f"/v1/jobs/{job}/webhooks").json()["data"][0]["tries"])
            for job in sorted(jobs)
        ]
        held = (
            not receiver.wrong
            and len(receiver.events) == len(jobs)
            and links == {200}
            and late <= latest_s + SLACK_S
            and max(tries) <= 9
        )
        report(
            "webhooks_dead_day",
            held,
            jobs=count,
            day_s=DAY_S * SCALE,
            last_s=round(late, 1),
            window_s=round(latest_s, 1),
            tries=[min(tries), max(tries)],
        )
        assert held, (receiver.wrong[:9], links, late, latest_s, tries)
