"""Where the server is and who asks: what both clients are made from."""

from __future__ import annotations

import os
from typing import Any

DEFAULT_URL = "http://127.0.0.1:8000"
RETRIES = 4


def http_options(url: str | None, key: str | None) -> dict[str, Any]:
    """Return what an httpx client needs; the environment fills what is left out."""
    key = key or os.environ.get("HEADRACE_API_KEY")
    headers = {"user-agent": "headrace-python"}
    if key:
        headers["authorization"] = f"Bearer {key}"
    return {
        "base_url": url or os.environ.get("HEADRACE_URL") or DEFAULT_URL,
        "headers": headers,
    }
