"""Headrace from outside: the Python client, and the command line around it."""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from headrace.client.asynchronous import AsyncClient, AsyncJob
    from headrace.client.errors import (
        Conflict,
        Forbidden,
        HeadraceError,
        InvalidInput,
        JobFailed,
        NotFound,
        RateLimited,
        RequestRefused,
        ServerUnreachable,
        Unauthorized,
        Unavailable,
        WaitTimeout,
        WebhookUrlForbidden,
    )
    from headrace.client.sync import Client, Job

__all__ = [
    "AsyncClient",
    "AsyncJob",
    "Client",
    "Conflict",
    "Forbidden",
    "HeadraceError",
    "InvalidInput",
    "Job",
    "JobFailed",
    "NotFound",
    "RateLimited",
    "RequestRefused",
    "ServerUnreachable",
    "Unauthorized",
    "Unavailable",
    "WaitTimeout",
    "WebhookUrlForbidden",
]

_HOME = {
    "AsyncClient": "asynchronous",
    "AsyncJob": "asynchronous",
    "Client": "sync",
    "Job": "sync",
}


def __getattr__(name: str) -> Any:
    # Looked up at first use: `headrace up` and `headrace worker` run without the HTTP client.
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"headrace.client.{_HOME.get(name, 'errors')}")
    return getattr(module, name)
