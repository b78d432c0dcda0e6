"""Priorities under saturation, as the model itself saw the order."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest

from .stack import MODELS, Api, Stack, until

EACH = 260


@pytest.fixture
def order(own_stack: Stack, tmp_path: Path) -> list[str]:
    """Queue many jobs of each priority while the model is cold; run them all; return the order."""
    journal = tmp_path / "journal"
    api = own_stack.api()
    worker = own_stack.worker(MODELS / "actor")
    api.ready("actor")
    worker.stop()
    for priority in ("low", "normal", "high"):
        _queue(api, priority, journal)
    own_stack.worker(MODELS / "actor")
    until(lambda: _begun(journal) == 3 * EACH, 60, "all jobs have run")
    return [line.split()[1] for line in _lines(journal) if line.startswith("begin")]


def _queue(api: Api, priority: str, journal: Path) -> None:
    given = {"name": priority, "journal": str(journal), "seconds": 0.002}
    body = {"inputs": [given] * EACH, "priority": priority}
    answer = api.call("POST", "/v1/models/actor/jobs/batch", json=body)
    assert answer.status_code == 202, answer.text


def _lines(journal: Path) -> list[str]:
    return journal.read_text().splitlines() if journal.exists() else []


def _begun(journal: Path) -> int:
    return sum(line.startswith("begin") for line in _lines(journal))


def test_turns_are_eight_to_three_to_one_and_low_never_starves(order: list[str]) -> None:
    # While all three still have jobs: the high ones are gone after 260 of 8/12.
    saturated = order[:360]
    shares = Counter(saturated)
    assert 220 <= shares["high"] <= 260, shares
    assert 70 <= shares["normal"] <= 110, shares
    assert 20 <= shares["low"] <= 42, shares
    windows = [saturated[start : start + 60] for start in range(0, 360, 60)]
    assert all("low" in window for window in windows), windows
    assert Counter(order) == {"high": EACH, "normal": EACH, "low": EACH}
