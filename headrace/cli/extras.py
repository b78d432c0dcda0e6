"""The base install is the client: a command that needs more says what to install."""

from __future__ import annotations

import importlib.util

from headrace.errors import StartRefused

#: Extra -> a package that only it brings.
_SIGNS = {"server": ("redis", "pydantic_settings", "rq", "uvicorn"), "worker": ("redis", "msgspec")}


def require(*extras: str) -> None:
    """StartRefused with the command to run where an extra is not installed."""
    missing = [
        extra
        for extra in extras
        if any(importlib.util.find_spec(package) is None for package in _SIGNS[extra])
    ]
    if missing:
        raise StartRefused(
            f"this needs more than the client: pip install 'headrace[{','.join(missing)}]'"
        )
