"""Looking for a run that breaks the promise."""

from __future__ import annotations

import secrets

import hypothesis
from hypothesis import HealthCheck, Phase, settings
from hypothesis.stateful import run_state_machine_as_test

from .machine import Machine
from .wire import Wire
from .world import World


def search(
    wire: Wire,
    ear: Wire,
    examples: int,
    steps: int,
    *,
    seed: int | None = None,
    explain: bool = True,
    machine: type[World] = Machine,
) -> None:
    """Run examples until one fails, or all hold; `explain` shortens one that fails.

    A failure prints its steps, and a blob that gives the same run again.
    """
    machine.wire, machine.ear = wire, ear
    hypothesis.seed(secrets.randbits(32) if seed is None else seed)(machine)
    phases = (Phase.generate, Phase.shrink) if explain else (Phase.generate,)
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=examples,
            stateful_step_count=steps,
            deadline=None,
            database=None,
            derandomize=False,
            print_blob=True,
            report_multiple_bugs=False,
            suppress_health_check=list(HealthCheck),
            phases=phases,
        ),
    )
