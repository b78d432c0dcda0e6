"""One copy of the weights, however many HTTP processes; no torch outside the engine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.chaos.stack import Process, Stack, tree

from .folders import EXAMPLES

MIB = 1024 * 1024
#: all-MiniLM-L6-v2 in float32: 22.7 million parameters.
WEIGHTS = 87 * MIB


@pytest.fixture(scope="module")
def stack() -> Iterator[Stack]:
    """A Redis for this module."""
    with Stack() as started:
        yield started


@pytest.fixture(scope="module")
def worker(stack: Stack) -> Process:
    """A worker of embed."""
    return stack.worker(EXAMPLES / "embed")


def private(pid: int) -> int:
    """Bytes that only this process has."""
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Private_")) * 1024


def resident(pid: int) -> int:
    lines = Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines()
    return sum(int(line.split()[1]) for line in lines if line.startswith("Rss:")) * 1024


def has_torch(pid: int) -> bool:
    maps = Path(f"/proc/{pid}/maps").read_text()
    return "torch" in maps or "safetensors" in maps


@pytest.mark.parametrize("processes", [1, 4])
def test_weights_are_in_memory_once(stack: Stack, worker: Process, processes: int) -> None:
    api = stack.api(api_workers=str(processes))
    api.ready("embed", seconds=90)
    for number in range(20):
        text = f"sentence number {number}"
        assert api.run("embed", {"text": text})["status"] == "succeeded"
    engine = worker.engine()
    others = [*tree(api.process.pid), worker.pid]
    assert has_torch(engine)
    assert not [pid for pid in others if has_torch(pid)]
    assert private(engine) > WEIGHTS
    assert sum(private(pid) for pid in others) < WEIGHTS * (1 + processes)
    assert max(private(pid) for pid in others) < WEIGHTS
    assert max(resident(pid) for pid in others) <= 90 * MIB, [
        (pid, resident(pid) // MIB) for pid in others
    ]
    assert api.process.stop() == 0
