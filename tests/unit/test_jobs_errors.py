"""The table of errors, and the object that every caller gets."""

from __future__ import annotations

import pytest

from jobs import errors
from jobs.errors import CODES, HeadraceError, QueueFull, problem

KINDS = [kind for kind in vars(errors).values() if isinstance(kind, type)]


@pytest.mark.parametrize("kind", [kind for kind in KINDS if issubclass(kind, HeadraceError)])
def test_every_error_has_a_code_of_the_table(kind: type[HeadraceError]) -> None:
    assert kind.code in CODES
    assert kind("why").problem()["code"] == kind.code


def test_a_problem_has_the_members_of_the_contract_and_none_that_is_empty() -> None:
    body = problem("out_of_memory", "no room", job_id="job_1", errors=None)
    assert body == {
        "type": "urn:headrace:error:out_of_memory",
        "title": CODES["out_of_memory"].title,
        "detail": "no room",
        "code": "out_of_memory",
        "retryable": True,
        "fault": "gpu",
        "job_id": "job_1",
    }
    assert problem("model_error", "x", retryable=True)["retryable"] is True


def test_only_errors_of_the_request_carry_an_http_status() -> None:
    assert {each.http_status for each in CODES.values() if each.code.startswith("queue_")} == {503}
    assert CODES["poisoned"].http_status is None
    assert {each.fault for each in CODES.values()} == {"client", "model", "gpu", "platform"}


def test_an_error_says_when_to_come_back() -> None:
    assert QueueFull("full", retry_after_s=3).retry_after_s == 3
    assert errors.__doc__ is not None
