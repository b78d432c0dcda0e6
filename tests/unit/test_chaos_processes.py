"""The processes of a campaign: their ports, and whether those that were ended are back."""

from __future__ import annotations

import signal
from pathlib import Path

from headrace.chaos.crew import Supervisor
from headrace.chaos.process import Process, free_port, until


def test_no_port_is_given_twice_nor_by_the_system() -> None:
    ports = [free_port() for _ in range(2_000)]
    assert len({*ports}) == len(ports)
    # From here on a system may give it to whoever connects, before it is bound.
    assert max(ports) < 32_768


def test_one_that_was_told_to_end_is_back_only_in_its_next_life(tmp_path: Path) -> None:
    process = Process(["sleep", "60"], tmp_path / "log").start()
    try:
        with Supervisor({"one": process}) as supervisor:
            first = process.pid
            assert supervisor.all_back()
            supervisor.condemn(first)
            # As in the moment between a signal and the end.
            assert process.running
            assert not supervisor.all_back()
            process.signal(signal.SIGKILL)
            until(supervisor.all_back, what="it is back")
            assert process.pid != first
        assert supervisor.surprises == []
    finally:
        process.kill()
