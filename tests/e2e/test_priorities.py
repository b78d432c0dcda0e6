"""Priorities under saturation, as the model itself saw the order."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from pathlib import Path

import pytest

from headrace.chaos.stack import Api, Stack, until

from .folders import MODELS

QUEUED = {"low": 300, "normal": 500, "high": 960}
#: While all three still have jobs, and after the second in which the worker gets into its stride.
STEADY = slice(500, 1300)
#: How long a job takes. A worker has a second's work in hand, and runs what is high in it first:
#: of jobs of 2 ms that were 500, and whoever was held up for a moment made the shares others.
EACH_S = 0.01


@pytest.fixture
def order(own_stack: Stack, tmp_path: Path) -> list[str]:
    """Queue many jobs of each priority while the model is cold; run them all; return the order."""
    journal = tmp_path / "journal"
    api = own_stack.api()
    worker = own_stack.worker(MODELS / "actor")
    api.ready("actor")
    worker.stop()
    for priority, count in QUEUED.items():
        _queue(api, priority, count, journal)
    own_stack.worker(MODELS / "actor")
    until(lambda: _begun(journal) == sum(QUEUED.values()), 150, "all jobs have run")
    return [line.split()[1] for line in _lines(journal) if line.startswith("begin")]


def _queue(api: Api, priority: str, count: int, journal: Path) -> None:
    given = {"name": priority, "journal": str(journal), "seconds": EACH_S}
    body = {"inputs": [given] * count, "priority": priority}
    answer = api.call("POST", "/v1/models/actor/jobs/batch", json=body)
    assert answer.status_code == 202, answer.text


def _lines(journal: Path) -> list[str]:
    return journal.read_text().splitlines() if journal.exists() else []


def _begun(journal: Path) -> int:
    return sum(line.startswith("begin") for line in _lines(journal))


@pytest.mark.timeout(240)
def test_turns_are_eight_to_three_to_one_and_low_never_starves(order: list[str]) -> None:
    steady = order[STEADY]
    shares = {name: count / len(steady) for name, count in Counter(steady).items()}
    assert shares["high"] == pytest.approx(8 / 12, abs=0.06), shares
    assert shares["normal"] == pytest.approx(3 / 12, abs=0.05), shares
    assert shares["low"] == pytest.approx(1 / 12, abs=0.03), shares
    # What is in hand may be reordered for a second or so; longer than that nobody waits.
    turns = [place for place, name in enumerate(steady) if name == "low"]
    gaps = [after - before for before, after in pairwise([0, *turns, len(steady)])]
    assert max(gaps) < 300, gaps
    assert Counter(order) == QUEUED
