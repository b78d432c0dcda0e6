"""What the integration tests share."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from tests.integration.queue_rig import Rig, rig_on


@pytest.fixture
async def rig(redis_url: str) -> AsyncIterator[Rig]:
    async with rig_on(redis_url) as rig:
        yield rig
