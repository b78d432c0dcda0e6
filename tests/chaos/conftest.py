"""What the gates share: stacks that may be broken, and the time that a full size takes."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.chaos.stack import Stack

from .sizes import FULL

#: seconds that a gate may take, where it does not say
CI_S = 150
FULL_S = 3 * 3600


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """A gate may take longer than a test; in full, as long as it takes."""
    for item in items:
        if Path(__file__).parent not in item.path.parents:
            continue
        if FULL:
            item.add_marker(pytest.mark.timeout(FULL_S), append=False)
        elif not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(CI_S))


@pytest.fixture
def stack() -> Iterator[Stack]:
    """A stack of the test's own: Redis runs, nothing else yet."""
    with Stack() as running:
        yield running
