"""What answers mean."""

from __future__ import annotations

import pytest

from egress.connect import CallFailed
from jobs.webhook import Verdict
from webhooks.outcome import answered, told, unanswered, unsigned
from webhooks.schedule import Schedule

from .rig import answer, delivery

AT = 1_800_000_000_000
SCHEDULE = Schedule(draw=lambda: 0.5)


@pytest.mark.parametrize(
    ("status", "outcome", "verdict"),
    [
        (200, "delivered", Verdict.DELIVERED),
        (202, "delivered", Verdict.DELIVERED),
        (204, "delivered", Verdict.DELIVERED),
        (299, "delivered", Verdict.DELIVERED),
        (301, "redirect", Verdict.RETRY),
        (307, "redirect", Verdict.RETRY),
        (304, "redirect", Verdict.RETRY),
        (400, "status_400", Verdict.RETRY),
        (404, "status_404", Verdict.RETRY),
        (410, "gone", Verdict.GONE),
        (429, "status_429", Verdict.RETRY),
        (500, "status_500", Verdict.RETRY),
        (503, "status_503", Verdict.RETRY),
        (999, "status_999", Verdict.RETRY),
    ],
)
def test_what_a_status_means(status, outcome, verdict):
    seen = answered(answer(status, body=b"said"), AT)
    assert (seen.tried.outcome, seen.verdict, seen.tried.status) == (outcome, verdict, status)
    assert seen.tried.at == AT
    assert seen.tried.response == "said"
    assert (seen.tried.error is None) == (verdict is Verdict.DELIVERED)


def test_a_redirect_names_where_it_pointed():
    seen = answered(answer(302, headers={"location": "https://other.example/x"}), AT)
    assert "https://other.example/x" in seen.tried.error
    assert "not followed" in seen.tried.error


@pytest.mark.parametrize(
    "kind", ["timeout", "dns", "connect", "tls", "reset", "protocol", "forbidden"]
)
def test_a_call_without_an_answer_is_named_and_tried_again(kind):
    seen = unanswered(CallFailed(kind, "why"), AT, 1.5)
    assert (seen.tried.outcome, seen.tried.error, seen.tried.seconds) == (kind, "why", 1.5)
    assert seen.verdict is Verdict.RETRY
    assert seen.its_own == (kind != "forbidden")


def test_without_a_secret_it_is_tried_again_and_the_endpoint_is_not_to_blame():
    seen = unsigned("none", AT)
    assert (seen.tried.outcome, seen.verdict, seen.its_own) == ("no_secret", Verdict.RETRY, False)


def test_a_retry_says_when_also_in_the_log():
    result = told(delivery(), answered(answer(500), AT), SCHEDULE, AT)
    assert result.verdict is Verdict.RETRY
    assert result.next_at == result.tried.next_at == AT + 5000


def test_retry_after_is_heard():
    seen = answered(answer(503, headers={"retry-after": "77"}), AT)
    assert told(delivery(), seen, SCHEDULE, AT).next_at == AT + 77_000


def test_the_tenth_failure_is_the_last():
    assert told(delivery(tries=8), answered(answer(500), AT), SCHEDULE, AT).next_at is not None
    last = told(delivery(tries=9), answered(answer(500), AT), SCHEDULE, AT)
    assert (last.verdict, last.next_at, last.tried.next_at) == (Verdict.FAILED, None, None)


@pytest.mark.parametrize("type_", ["job.started", "job.progress"])
def test_an_event_on_the_way_is_tried_once(type_):
    result = told(delivery(type_=type_), answered(answer(500), AT), SCHEDULE, AT)
    assert result.verdict is Verdict.FAILED


@pytest.mark.parametrize("status", [200, 410])
def test_what_is_settled_has_no_next_time(status):
    result = told(delivery(), answered(answer(status), AT), SCHEDULE, AT)
    assert result.next_at is None
