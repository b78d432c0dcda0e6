"""The outcome that Redis records for a job, out of what the engine said of it."""

from collections.abc import Mapping
from dataclasses import replace

import orjson

from jobs.errors import CODES, problem
from jobs.worker_queue import Claimed, Outcome
from worker.holding import Held
from worker.rules import ModelLimits, Rules

LONGEST_BACKOFF_S = 600.0
#: members of an engine's error that are set here
OWN_MEMBERS = frozenset({"code", "detail", "retryable", "title", "type", "fault", "job_id"})


def outcome_of(
    held: Held,
    output: bytes | None,
    error: Mapping[str, object] | None,
    rules: Rules,
    limits: ModelLimits,
    stacks: str = "",
) -> tuple[Outcome, str]:
    """The outcome and its error code, empty for a success.

    With neither output nor error its engine was killed, with these stacks.
    """
    job = held.job
    if held.timed_out:
        outcome, code = _failed(job, "timed_out", f"The job ran longer than {job.timeout_s:g} s.")
        return replace(outcome, detail=stacks), code
    if output is not None:
        if len(output) > rules.max_result_bytes:
            detail = f"The output has {len(output)} bytes; the limit is {rules.max_result_bytes}."
            return _failed(job, "result_too_large", detail)
        return Outcome(job.id, job.token, "succeeded", output), ""
    if error is None or error.get("code") == "canceled":
        return Outcome(job.id, job.token, "canceled", detail=stacks), "canceled"
    return _errored(job, error, rules, limits)


def _errored(
    job: Claimed, error: Mapping[str, object], rules: Rules, limits: ModelLimits
) -> tuple[Outcome, str]:
    code, detail = str(error.get("code", "")), str(error.get("detail", ""))
    if code not in CODES:
        code = "model_error"
    retryable = bool(error.get("retryable", CODES[code].retryable))
    if not retryable:
        more = {name: error[name] for name in error if name not in OWN_MEMBERS}
        return _failed(job, code, detail, **more)
    if job.attempt >= rules.max_attempts:
        told = f"All {job.attempt} attempts failed; the last one with {code}: {detail}"
        outcome, exhausted = _failed(job, "attempts_exhausted", told)
        # Of the attempt its own reason is told, as of those before.
        return replace(outcome, code=code), exhausted
    backoff_s = min(limits.retry_backoff_s * 2.0 ** (job.attempt - 1), LONGEST_BACKOFF_S)
    return Outcome(job.id, job.token, "retry", b"", backoff_s, code, detail), code


def _failed(job: Claimed, code: str, detail: str, **members: object) -> tuple[Outcome, str]:
    body = problem(
        code, detail, retryable=None, job_id=job.id, request_id=job.request_id, **members
    )
    kind = "timed_out" if code == "timed_out" else "failed"
    return Outcome(job.id, job.token, kind, orjson.dumps(body), 0.0, code, detail), code
