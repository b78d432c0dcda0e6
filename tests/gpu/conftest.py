"""Tests of a real GPU: they are skipped where there is none."""

from __future__ import annotations

from pathlib import Path

import pytest

#: seconds for a test that loads models several times
TIMEOUT_S = 300


def _cuda() -> bool:
    # Torch is imported only where it could find something: that takes seconds.
    if not any(Path(node).exists() for node in ("/dev/nvidiactl", "/dev/dxg")):
        return False
    try:
        import torch
    except ImportError:
        return False
    return bool(torch.cuda.is_available())


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip this folder's tests without a GPU; give them time with one."""
    ours = [item for item in items if Path(__file__).parent in item.path.parents]
    if not ours:
        return
    skip = None if _cuda() else pytest.mark.skip(reason="needs a GPU that torch can use")
    for item in ours:
        item.add_marker(pytest.mark.timeout(TIMEOUT_S))
        if skip is not None:
            item.add_marker(skip)
