"""Whatever happens to jobs in whatever order, the promise holds."""

from __future__ import annotations

import pytest

from tests.chaos.sizes import FULL, report, seed, size

from .link import TALLY
from .search import search
from .wire import Wire


@pytest.mark.timeout(7200 if FULL else 900)
def test_the_promise_holds_whatever_happens(wire: Wire, ear: Wire) -> None:
    chosen, held = seed(), False
    sizes = {name: size(f"simulation_{name}") for name in ("examples", "steps")}
    TALLY.clear()
    try:
        search(wire, ear, **sizes, seed=chosen)
        held = True
    finally:
        report("simulation", held, seed=chosen, **sizes, **TALLY)
