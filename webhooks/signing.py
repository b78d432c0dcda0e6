"""The headers of Standard Webhooks 1.0: who says this, when, and under which id."""

from __future__ import annotations

import base64
import hmac
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Protocol

from jobs.errors import QueueUnavailable
from jobs.webhook import Delivery
from jobs.webhook_secrets import key_of

#: For so long a tenant's secrets are not read again: a rotation is seen this much later.
_FRESH_S = 2.0
_MOST_TENANTS = 4096


class NoSecret(Exception):
    """Nothing is there to sign a delivery with; the text says why."""


class Secrets(Protocol):
    """Whoever knows the tenants' secrets."""

    async def signing(self, tenant: str) -> Sequence[str]:
        """Return the secrets that sign now."""
        ...


@dataclass(frozen=True, slots=True)
class _Known:
    read_at: float
    secrets: Sequence[str]


class Signer:
    """Makes the headers of a try, with the submit's secret, else the tenant's, else the server's.

    While Redis is away it signs with what it knew last.
    """

    def __init__(
        self,
        secrets: Secrets,
        fallback: str | None = None,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._secrets = secrets
        self._fallback = fallback
        self._clock = clock
        self._known: dict[str, _Known] = {}
        self._agent = f"Headrace-Webhooks/{_version()}"

    async def headers(self, delivery: Delivery, at_s: int) -> dict[str, str]:
        """Return all headers of a try at this second; raises NoSecret, or QueueUnavailable."""
        keys = [_key(secret) for secret in await self._secrets_for(delivery)]
        if not keys:
            raise NoSecret(
                f"The tenant {delivery.tenant} has no secret: headrace webhooks secret create."
            )
        return {
            "content-type": "application/json",
            "user-agent": self._agent,
            "webhook-id": delivery.id,
            "webhook-timestamp": str(at_s),
            "webhook-signature": " ".join(
                signature(key, delivery.id, at_s, delivery.body) for key in keys
            ),
        }

    async def _secrets_for(self, delivery: Delivery) -> Sequence[str]:
        if delivery.secret is not None:
            return [delivery.secret]
        tenants = await self._of_tenant(delivery.tenant)
        return tenants or ([] if self._fallback is None else [self._fallback])

    async def _of_tenant(self, tenant: str) -> Sequence[str]:
        known, now = self._known.get(tenant), self._clock()
        if known is not None and now - known.read_at < _FRESH_S:
            return known.secrets
        try:
            found = await self._secrets.signing(tenant)
        except QueueUnavailable:
            if known is None:
                raise
            return known.secrets
        if len(self._known) >= _MOST_TENANTS:
            self._known.clear()
        self._known[tenant] = _Known(now, found)
        return found


def signature(key: bytes, identifier: str, at_s: int, body: bytes) -> str:
    """Return one `v1` signature."""
    mac = hmac.digest(key, f"{identifier}.{at_s}.".encode() + body, "sha256")
    return f"v1,{base64.b64encode(mac).decode()}"


def _key(secret: str) -> bytes:
    try:
        return key_of(secret)
    except ValueError as error:
        raise NoSecret(f"The secret cannot be used: {error}.") from error


def _version() -> str:
    try:
        return version("headrace")
    except PackageNotFoundError:
        return "0"
