"""Commands that go straight to Redis: the one of HEADRACE_REDIS_URL, or of the data folder."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from headrace.cli.extras import require
from headrace.client.errors import ServerUnreachable
from headrace.errors import StartRefused

if TYPE_CHECKING:
    from headrace.settings import UpSettings
    from jobs.connection import RedisConnections

T = TypeVar("T")


def with_redis(use: Callable[[RedisConnections], Awaitable[T]]) -> T:
    """Return what comes of it; StartRefused and ServerUnreachable say what is wrong."""
    require("server")
    from headrace.settings import UpSettings
    from jobs.connection import RedisConnections
    from jobs.errors import HeadraceError, QueueUnavailable
    from telemetry.settings import SettingsError

    async def run(settings: UpSettings) -> T:
        url, namespace = settings.queue_url, settings.namespace
        async with RedisConnections(url, namespace=namespace, pool_size=1) as connections:
            return await use(connections)

    try:
        return asyncio.run(run(UpSettings.read()))
    except QueueUnavailable as error:
        raise ServerUnreachable(
            f"{error.detail} (start headrace up, or set HEADRACE_REDIS_URL or HEADRACE_DATA_DIR)"
        ) from error
    except (HeadraceError, SettingsError) as error:
        raise StartRefused(str(error)) from error
