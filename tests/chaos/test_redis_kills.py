"""redis-server is killed again and again while jobs are submitted and worked on: none is lost."""

from __future__ import annotations

import json

import pytest

from headrace.chaos.campaign import Campaign, Size
from headrace.chaos.faults import REDIS_KILLS
from headrace.chaos.traffic import SUBMITS

from .sizes import report, seed, size


@pytest.mark.timeout(900)
def test_what_was_acknowledged_survives_the_death_of_redis() -> None:
    wanted = Size(
        jobs=size("redis_kills_jobs"),
        faults=size("redis_kills"),
        seed=seed(),
        menu=REDIS_KILLS,
        mix=SUBMITS,
    )
    verdict = Campaign(wanted, say=print).run()
    report("redis kills", verdict.held, seed=wanted.seed, **verdict.counts())
    assert verdict.held, json.dumps(verdict.details(), indent=1, default=str)
