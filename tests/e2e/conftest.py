"""One stack for all tests that only use it; tests that break things start their own."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.chaos.stack import Api, Stack

from .folders import EXAMPLES, MODELS


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Give tests that start processes the time that a loaded machine needs."""
    for item in items:
        if Path(__file__).parent in item.path.parents and not item.get_closest_marker("timeout"):
            item.add_marker(pytest.mark.timeout(120))


@pytest.fixture(scope="session")
def shared() -> Iterator[Api]:
    """An API without keys, with ready workers of echo, actor and kinds."""
    with Stack() as stack:
        api = stack.api()
        for model in (EXAMPLES / "echo", MODELS / "actor", MODELS / "kinds"):
            stack.worker(model, cancel_grace_s="3")
        api.ready("echo", "actor", "kinds")
        yield api


@pytest.fixture
def api(shared: Api) -> Api:
    """The shared API."""
    return shared


@pytest.fixture
def own_stack() -> Iterator[Stack]:
    """A stack that the test may break: Redis runs, nothing else yet."""
    with Stack() as stack:
        yield stack
