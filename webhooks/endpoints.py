"""What an endpoint is: limits, breaker and disabling are for each."""

from __future__ import annotations

import hashlib
from urllib.parse import urlsplit


def endpoint_of(tenant: str, url: str) -> str:
    """Return the id of an address in a tenant: 32 hex digits, whatever its query and fragment."""
    parts = urlsplit(url)
    place = f"{parts.scheme.lower()}://{parts.netloc.lower()}{parts.path or '/'}"
    return hashlib.blake2b(f"{tenant}\0{place}".encode(), digest_size=16).hexdigest()
