"""A blocking connection for RQ, which knows no other: the one place beside `jobs` to make any."""

from __future__ import annotations

from typing import Any

import redis
from redis.sentinel import Sentinel
from rq.exceptions import DuplicateJobError

from jobs.errors import WrongRedis
from jobs.redis_url import Target, target_of

#: What a call through such a connection raises when Redis is away or cannot do it.
AWAY = (redis.RedisError, OSError)
DUPLICATE = DuplicateJobError

TIMEOUT_S = 5.0
#: Only asyncio's connections know what to do with these.
_NOT_OURS = ("retry", "connection_class", "host", "port")


def rq_connection(url: str) -> redis.Redis:
    """Return a client; nothing is connected yet. Raises WrongRedis for a URL that RQ cannot use."""
    try:
        target = target_of(url, TIMEOUT_S)
    except WrongRedis as error:
        # Unset, it is the queue's, whose own process refuses it under its own name.
        detail = error.detail.replace(
            "HEADRACE_REDIS_URL",
            "HEADRACE_RQ_REDIS_URL, or HEADRACE_REDIS_URL while that is unset,",
        )
        raise WrongRedis(detail) from error
    if target.kind == "cluster":
        raise WrongRedis(
            "RQ, which times the retries of webhooks, cannot use a Cluster: set "
            "HEADRACE_RQ_REDIS_URL to a redis://, rediss://, unix:// or redis+sentinel:// address."
        )
    if target.kind == "sentinel":
        return _of_sentinels(target)
    timeouts = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S}
    if url.startswith("unix"):
        del timeouts["socket_connect_timeout"]
    return redis.Redis.from_url(url, health_check_interval=30, **timeouts)


def _of_sentinels(target: Target) -> redis.Redis:
    secure = {"ssl": True} if target.url.startswith("rediss") else {}
    sentinel = Sentinel(  # type: ignore[no-untyped-call]
        list(target.addresses),
        sentinel_kwargs=_kept(target.sentinel_settings) | secure,
        **(_kept(target.settings) | secure),
    )
    client: redis.Redis = sentinel.master_for(target.master)  # type: ignore[no-untyped-call]
    return client


def _kept(settings: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in settings.items() if name not in _NOT_OURS}
