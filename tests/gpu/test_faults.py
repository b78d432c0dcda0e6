"""Real faults of a GPU: which cost one job, which an engine, and what is told of them."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from headrace.chaos.process import Process
from headrace.chaos.stack import Api, Stack

FAULTY = Path(__file__).parent / "models" / "faulty"


class Line:
    """An API, and a worker on the GPU."""

    def __init__(self, stack: Stack) -> None:
        self.api: Api = stack.api()
        self.worker: Process = stack.worker(FAULTY, device="cuda", cancel_grace_s="1")
        self.api.ready("faulty", seconds=120)

    def batch(self, *does: str) -> list[dict[str, Any]]:
        """Submit together, and wait for all."""
        body = {"inputs": [{"n": n, "do": do} for n, do in enumerate(does)]}
        answer = self.api.call("POST", "/v1/models/faulty/jobs/batch", json=body)
        assert answer.status_code == 202, answer.text
        return [self.api.finished(job["id"], 120) for job in answer.json()["jobs"]]

    def attempts(self, job: dict[str, Any]) -> list[dict[str, Any]]:
        """What an admin is told of a dead job."""
        answer = self.api.call("GET", f"/v1/admin/dead/{job['id']}")
        return list(answer.json()["attempts"])


@pytest.fixture
def line() -> Iterator[Line]:
    """A line of the test's own."""
    with Stack() as stack:
        yield Line(stack)


def values(jobs: list[dict[str, Any]]) -> list[Any]:
    return [job["output"] and job["output"]["value"] for job in jobs]


def test_jobs_run_on_the_gpu(line: Line) -> None:
    assert values(line.batch("good", "good")) == [0.0, 2.0]
    assert '"device": "cuda:0"' in line.worker.said()


def test_a_batch_that_does_not_fit_is_halved_until_it_does_and_the_engine_lives(line: Line) -> None:
    engine = line.worker.engine()
    assert values(line.batch(*["third"] * 8)) == [2.0 * n for n in range(8)]
    assert '"event": "safe_size_learned"' in line.worker.said()
    assert line.worker.engine() == engine


def test_a_job_that_never_fits_is_too_large_and_its_mates_are_not(line: Line) -> None:
    engine = line.worker.engine()
    *mates, large = line.batch("good", "good", "good", "never_fits")
    assert values(mates) == [0.0, 2.0, 4.0]
    assert (large["status"], large["error"]["code"]) == ("failed", "input_too_large")
    assert line.worker.engine() == engine


@pytest.mark.parametrize(
    ("do", "said"),
    [("assert", "device-side assert"), ("illegal", "illegal memory access")],
)
def test_a_sticky_fault_costs_the_engine_and_convicts_its_job_alone(
    line: Line, do: str, said: str
) -> None:
    engine = line.worker.engine()
    *mates, culprit = line.batch("good", "good", "good", do)
    assert values(mates) == [0.0, 2.0, 4.0]
    assert (culprit["error"]["code"], culprit["crashes"]) == ("poisoned", 3)
    attempts = line.attempts(culprit)
    assert [each["reason"] for each in attempts] == ["fatal"] * 3
    assert said in attempts[-1]["detail"]
    assert line.worker.engine() != engine
    # Two such deaths within ten minutes: the third engine tested the GPU before it loaded.
    assert '"event": "self_test_passed"' in line.worker.said()
    assert values(line.batch("good", "good")) == [0.0, 2.0]


def test_a_kernel_that_spins_is_killed_within_its_limit_and_leaves_its_stack(line: Line) -> None:
    limit_s = 3.0
    began = time.monotonic()
    job = line.api.submit("faulty", {"do": "spin"}, timeout_s=limit_s)
    done = line.api.finished(job["id"], 60)
    assert time.monotonic() - began < limit_s + 10
    assert done["status"] == "timed_out"
    (attempt,) = line.attempts(done)
    assert "in spin" in attempt["detail"]
    assert values(line.batch("good", "good")) == [0.0, 2.0]


def test_the_gpu_passes_its_self_test_and_a_wrong_number_fails_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    torch = pytest.importorskip("torch")
    from worker.engine.self_test import DeviceFailed, self_test

    self_test("cuda:0")
    right = torch.Tensor.__matmul__

    def wrong(left: Any, other: Any) -> Any:
        product = right(left, other)
        product[1, 2] += 1
        return product

    monkeypatch.setattr(torch.Tensor, "__matmul__", wrong)
    with pytest.raises(DeviceFailed, match="numbers wrong"):
        self_test("cuda:0")
