"""The three images, built once into scratch roots."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .builder import Builder
from .dockerfile import Dockerfile
from .scratch import Scratch, missing

ROOT = Path(__file__).parents[2]
TARGETS = ("api", "webhooks", "worker")


@pytest.fixture(scope="session")
def dockerfile() -> Dockerfile:
    """The repository's."""
    return Dockerfile.read(ROOT / "Dockerfile")


@pytest.fixture(scope="session")
def built(dockerfile: Dockerfile) -> Iterator[Builder]:
    """Each target, built as the Dockerfile says; apt's Python is the machine's own."""
    why = missing()
    if why:
        pytest.skip(why)
    with Scratch() as scratch:
        builder = Builder(scratch, given=["cuda"])
        for target in TARGETS:
            builder.build(dockerfile, target, ROOT)
        yield builder
