"""Whatever happens to jobs in whatever order, the promise holds."""

from __future__ import annotations

import pytest

from tests.chaos.sizes import FULL, report, seed, size

from .link import TALLY
from .machine import Machine
from .search import search
from .telling_machine import Telling
from .wire import Wire
from .world import World


@pytest.mark.timeout(7200 if FULL else 900)
@pytest.mark.parametrize("machine", [Machine, Telling])
def test_the_promise_holds_whatever_happens(wire: Wire, ear: Wire, machine: type[World]) -> None:
    chosen, held = seed(), False
    sizes = {name: size(f"simulation_{name}") for name in ("examples", "steps")}
    if machine is Telling:
        sizes["examples"] //= 5
    TALLY.clear()
    try:
        search(wire, ear, **sizes, seed=chosen, machine=machine)
        held = True
    finally:
        name = "simulation" if machine is Machine else "simulation_told"
        report(name, held, seed=chosen, **sizes, **TALLY)
