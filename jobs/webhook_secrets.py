"""Secrets that sign a tenant's webhooks (Standard Webhooks 1.0: `whsec_`, base64 of 32 bytes)."""

from __future__ import annotations

import base64
import binascii
import re
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import msgspec

from jobs import keys
from jobs.connection import RedisConnections, translated
from jobs.errors import HeadraceError

_PREFIX = "whsec_"
_TENANT = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
#: Bytes of a key: what Standard Webhooks asks for.
_LEAST, _MOST = 24, 64
#: Characters of a secret that is any other text.
_LEAST_TEXT, _MOST_TEXT = 16, 256
_LONGEST_OVERLAP_S = 30 * 86400
#: Secrets that may sign beside the newest: each adds a signature to every call.
_MOST_EARLIER = 4


class BadSecret(HeadraceError):
    """A tenant that has a secret already, or none to rotate, or a name that is none."""

    code = "malformed_request"


class _Earlier(msgspec.Struct, frozen=True, kw_only=True):
    """A secret that another one has taken over from, and until when it signs (Unix ms)."""

    secret: str
    until: int


class _Stored(msgspec.Struct, frozen=True, kw_only=True):
    """A tenant's secrets as they are kept (JSON); times are Unix milliseconds."""

    secret: str
    created_at: int
    #: The newest first. Several where it was rotated again: also by one whose answer was lost.
    earlier: tuple[_Earlier, ...] = ()

    def live(self, now: int) -> tuple[_Earlier, ...]:
        """Return those that sign on."""
        return tuple(each for each in self.earlier if each.until > now)


@dataclass(frozen=True, slots=True)
class SecretStatus:
    """What may be told of a tenant's secrets; times are Unix milliseconds."""

    tenant: str
    created_at: int
    #: Until when the secret before signs as well; None when there is one alone.
    previous_until: int | None


class WebhookSecrets:
    """The tenants' secrets in Redis. Methods raise QueueUnavailable; BadSecret where told."""

    def __init__(self, connections: RedisConnections) -> None:
        self._connections = connections
        self._key = keys.webhook_secrets(connections.namespace)

    async def create(self, tenant: str) -> str:
        """Make a tenant's first secret and return it, once; raises BadSecret if there is one."""
        if not _TENANT.fullmatch(tenant):
            raise BadSecret(f"{tenant!r} is no name of a tenant: use a-z, 0-9, '.', '_' and '-'.")
        secret = new_secret()
        text = msgspec.json.encode(_Stored(secret=secret, created_at=_now()))
        with translated():
            made = await self._connections.client.hsetnx(self._key, tenant, text)
        if not made:
            raise BadSecret(f"The tenant {tenant!r} has a secret already; rotate it.")
        return secret

    async def rotate(self, tenant: str, overlap_s: float = 86400) -> str:
        """Make a new secret and return it, once; the one before signs beside it for so long, and
        those before that as long as they were to. With an overlap of 0 it signs alone.
        """
        if not 0 <= overlap_s <= _LONGEST_OVERLAP_S:
            raise BadSecret(f"The overlap must be 0 to {_LONGEST_OVERLAP_S} seconds.")
        old = await self._stored(tenant)
        if old is None:
            raise BadSecret(f"The tenant {tenant!r} has no secret yet; create one.")
        now = _now()
        before = _Earlier(secret=old.secret, until=now + int(overlap_s * 1000))
        # None at all is for one that leaked: whoever has it may have those before it as well.
        earlier = (before, *old.live(now))[:_MOST_EARLIER] if overlap_s else ()
        fresh = _Stored(secret=new_secret(), created_at=now, earlier=earlier)
        with translated():
            await self._connections.client.hset(self._key, tenant, msgspec.json.encode(fresh))
        return fresh.secret

    async def status(self) -> Sequence[SecretStatus]:
        """Return which tenants have a secret."""
        with translated():
            found = cast(dict[bytes, bytes], await self._connections.client.hgetall(self._key))
        now, known = _now(), []
        for tenant, text in sorted(found.items()):
            stored = msgspec.json.decode(text, type=_Stored)
            live = max((each.until for each in stored.live(now)), default=None)
            known.append(SecretStatus(tenant.decode(), stored.created_at, live))
        return known

    async def signing(self, tenant: str) -> Sequence[str]:
        """Return the secrets that sign now, the newest first; empty where there is none."""
        stored = await self._stored(tenant)
        if stored is None:
            return []
        return [stored.secret, *(each.secret for each in stored.live(_now()))]

    async def remove(self, tenant: str) -> bool:
        """Forget a tenant's secrets; False if there were none."""
        with translated():
            return bool(await self._connections.client.hdel(self._key, tenant))

    async def _stored(self, tenant: str) -> _Stored | None:
        with translated():
            found = await self._connections.client.hget(self._key, tenant)
        return None if found is None else msgspec.json.decode(found, type=_Stored)


def _now() -> int:
    return int(time.time() * 1000)


def new_secret() -> str:
    """Return `whsec_` and the base64 of 32 random bytes."""
    return _PREFIX + base64.b64encode(secrets.token_bytes(32)).decode()


def key_of(secret: str) -> bytes:
    """Return the bytes that sign: what a `whsec_` secret decodes to; of any other text its UTF-8.

    Raises ValueError for `whsec_` without base64 of 24 to 64 bytes, or any other text that is
    shorter than 16 or longer than 256 characters.
    """
    if not secret.startswith(_PREFIX):
        if not _LEAST_TEXT <= len(secret) <= _MOST_TEXT:
            raise ValueError(
                f"a secret is `{_PREFIX}` and the base64 of {_LEAST} to {_MOST} bytes, or any text "
                f"of {_LEAST_TEXT} to {_MOST_TEXT} characters"
            )
        return secret.encode()
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error as error:
        raise ValueError(f"what follows `{_PREFIX}` is not base64") from error
    if not _LEAST <= len(key) <= _MOST:
        raise ValueError(f"`{_PREFIX}` wants {_LEAST} to {_MOST} bytes of base64, not {len(key)}")
    return key
