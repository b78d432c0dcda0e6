"""Random kill -9 and freezes over all roles, while many jobs are under way: nothing is lost."""

from __future__ import annotations

import json

import pytest

from headrace.chaos.campaign import Campaign, Size

from .sizes import report, seed, size


@pytest.mark.timeout(900)
def test_nothing_is_lost_whatever_is_killed_or_frozen() -> None:
    wanted = Size(jobs=size("campaign_jobs"), faults=size("campaign_kills"), seed=seed())
    verdict = Campaign(wanted, say=print).run()
    report("campaign", verdict.held, seed=wanted.seed, **verdict.counts())
    assert verdict.held, json.dumps(verdict.details(), indent=1, default=str)
