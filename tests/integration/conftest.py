"""What the integration tests share."""

from __future__ import annotations

import threading
from collections.abc import AsyncIterator, Iterator

import pytest

from headrace.client import exchange
from tests.integration.cli_rig import FakeServer
from tests.integration.queue_rig import Rig, rig_on


@pytest.fixture
async def rig(redis_url: str) -> AsyncIterator[Rig]:
    async with rig_on(redis_url) as rig:
        yield rig


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    fake = FakeServer()
    thread = threading.Thread(target=fake.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    monkeypatch.setenv("HEADRACE_URL", fake.url)
    monkeypatch.setattr(exchange, "_FIRST_PAUSE_S", 0.001)
    yield fake
    fake.shutdown()
    fake.server_close()
    thread.join()
