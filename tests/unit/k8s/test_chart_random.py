"""Whatever values the schema accepts, the chart renders, and Kubernetes takes what it renders."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings

from tests.unit.k8s.drawn import values
from tests.unit.k8s.rendered import MINORS, Rendered, check

EXAMPLES = 300
seen: set[str] = set()
tried: list[dict[str, Any]] = []


@pytest.mark.timeout(240)
@settings(
    max_examples=EXAMPLES,
    derandomize=True,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
@given(values())
def test_what_the_schema_accepts_renders_and_is_valid(given_values):
    tried.append(given_values)
    shown = Rendered(given_values)
    assert "Headrace" in shown.notes
    for doc in shown.docs:
        text = json.dumps(doc, sort_keys=True)
        if text not in seen:
            check(doc, *MINORS)
            seen.add(text)


def test_enough_different_values_were_tried():
    """Of the test before this one."""
    if not tried:
        pytest.skip("the random values were not drawn in this run")
    different = {json.dumps(each, sort_keys=True) for each in tried}
    assert len(different) >= EXAMPLES * 0.9
    assert sum(bool(each.get("models")) for each in tried) >= EXAMPLES / 6
    assert len(seen) > 10 * EXAMPLES / 4
