"""Whatever happens to jobs in whatever order, the promise holds."""

from __future__ import annotations

import os

import pytest

from .search import search
from .wire import Wire

FULL = os.environ.get("CHAOS_SIZE") == "full"
EXAMPLES, STEPS = (5_000, 200) if FULL else (500, 50)


@pytest.mark.timeout(3600 if FULL else 300)
def test_the_promise_holds_whatever_happens(wire: Wire) -> None:
    search(wire, EXAMPLES, STEPS)
