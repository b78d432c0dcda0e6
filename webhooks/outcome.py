"""What an answer, or the lack of one, means for a delivery."""

from __future__ import annotations

from dataclasses import dataclass

from msgspec.structs import replace

from egress.connect import Answer, CallFailed
from jobs.webhook import Delivery, Told, Try, Verdict
from webhooks.schedule import Schedule, retry_after_s

_NO_MORE = 410
_LONGEST_LOCATION = 200


@dataclass(frozen=True, slots=True)
class Seen:
    """What came of one try: its entry in the log but for the next time, and what it asks for."""

    verdict: Verdict
    tried: Try
    retry_after_s: float | None = None
    #: Whether the endpoint was reached, or not, by its own doing: the breaker counts no other.
    its_own: bool = True


def answered(answer: Answer, at: int) -> Seen:
    """Judge an answer; `at` is when the try began, Unix milliseconds."""
    status, outcome, error, verdict = answer.status, f"status_{answer.status}", None, Verdict.RETRY
    if 200 <= status < 300:
        outcome, verdict = "delivered", Verdict.DELIVERED
    elif status == _NO_MORE:
        outcome, verdict = "gone", Verdict.GONE
        error = "The receiver answered 410: it wants no more of this."
    elif 300 <= status < 400:
        outcome = "redirect"
        place = answer.headers.get("location", "")[:_LONGEST_LOCATION] or "nowhere"
        error = f"The receiver answered {status} and pointed to {place}; redirects are not followed"
        error += ": give the address it points to."
    else:
        error = f"The receiver answered {status}."
    tried = Try(
        at=at,
        outcome=outcome,
        seconds=round(answer.seconds, 3),
        status=status,
        error=error,
        response=answer.body.decode("utf-8", "replace") or None,
    )
    now = at / 1000 + answer.seconds
    return Seen(verdict, tried, retry_after_s(status, answer.headers.get("retry-after"), now))


def unanswered(error: CallFailed, at: int, seconds: float) -> Seen:
    """Judge a call that had no answer."""
    tried = Try(at=at, outcome=error.kind, seconds=round(seconds, 3), error=error.detail)
    return Seen(Verdict.RETRY, tried, its_own=error.kind != "forbidden")


def unsigned(reason: str, at: int) -> Seen:
    """Judge a delivery that could not be signed."""
    return Seen(Verdict.RETRY, Try(at=at, outcome="no_secret", error=reason), its_own=False)


def told(delivery: Delivery, seen: Seen, schedule: Schedule, now: int) -> Told:
    """Return what is noted of the try; `now` is the Unix time of its end in milliseconds."""
    if seen.verdict is not Verdict.RETRY:
        return Told(delivery=delivery, verdict=seen.verdict, tried=seen.tried)
    delay = schedule.after(delivery.tries + 1, seen.retry_after_s)
    if delay is None or delivery.best_effort:
        return Told(delivery=delivery, verdict=Verdict.FAILED, tried=seen.tried)
    next_at = now + int(delay * 1000)
    tried = replace(seen.tried, next_at=next_at)
    return Told(delivery=delivery, verdict=Verdict.RETRY, tried=tried, next_at=next_at)
