"""API keys: made once, shown once, kept as hashes, revoked everywhere within seconds."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import hmac
import json
import re
import secrets
import string
import time
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from pathlib import Path
from types import TracebackType
from typing import Self, cast

from jobs import keys
from jobs.connection import RedisConnections, translated
from jobs.errors import HeadraceError, QueueUnavailable

DEFAULT_TENANT = "default"
REFRESH_S = 2.0

_KEY = re.compile(r"hr_([0-9A-Za-z]{12})_([0-9A-Za-z]{43})")
_TENANT = re.compile(r"[a-z0-9][a-z0-9._-]{0,62}")
_LETTERS = string.ascii_letters + string.digits
#: Compared with when the id is unknown, so that both answers take the same time.
_NOBODY = hashlib.sha256(secrets.token_bytes(32)).hexdigest()


class Role(StrEnum):
    """What a key may do: `submit` also reads and cancels, `admin` may do all."""

    READ = "read"
    SUBMIT = "submit"
    ADMIN = "admin"


class BadKey(HeadraceError):
    """A key, tenant or keys file that is not in the form it must have."""

    code = "malformed_request"


@dataclass(frozen=True, slots=True)
class KeyRecord:
    """What is kept of a key; `digest` is the SHA-256 of its secret."""

    id: str
    tenant: str
    role: Role
    name: str
    digest: str
    created_at: int
    revoked_at: int | None = None


def _letters(count: int) -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(count))


def _digest(secret: str) -> str:
    # 256 random bits need no slow hash.
    return hashlib.sha256(secret.encode()).hexdigest()


def _checked_tenant(tenant: str) -> str:
    if not _TENANT.fullmatch(tenant):
        raise BadKey(f"Tenant {tenant!r} must match {_TENANT.pattern}.")
    return tenant


class KeyStore:
    """Makes, lists and revokes keys in Redis."""

    def __init__(self, connections: RedisConnections) -> None:
        self._connections = connections

    async def create(
        self, *, tenant: str = DEFAULT_TENANT, role: Role = Role.SUBMIT, name: str = ""
    ) -> tuple[str, KeyRecord]:
        """Make a key; its text is returned here and never again."""
        identifier, secret = _letters(12), _letters(43)
        record = KeyRecord(
            identifier, _checked_tenant(tenant), role, name, _digest(secret), _now_ms()
        )
        await self._write([record])
        return f"hr_{identifier}_{secret}", record

    async def records(self) -> list[KeyRecord]:
        """Return all keys, oldest first, revoked ones too."""
        with translated():
            found = await self._connections.client.hgetall(
                keys.access_keys(self._connections.namespace)
            )
        records = [_parse(raw) for raw in cast(dict[bytes, bytes], found).values()]
        return sorted(records, key=lambda record: record.created_at)

    async def revoke(self, identifier: str) -> KeyRecord | None:
        """Revoke a key for ever; None if there is no such id."""
        for record in await self.records():
            if record.id == identifier:
                revoked = replace(record, revoked_at=record.revoked_at or _now_ms())
                await self._write([revoked])
                return revoked
        return None

    async def seed(self, path: Path) -> int:
        """Add the keys of a file that are not known yet; return how many.

        A line is `KEY ROLE [TENANT [NAME]]`; empty lines and lines that begin with # are left out.
        Raises BadKey, which names the line. A key that was revoked stays revoked.
        """
        known = {record.id for record in await self.records()}
        fresh = [record for record in _read_keys_file(path) if record.id not in known]
        if fresh:
            await self._write(fresh)
        return len(fresh)

    async def revision(self) -> int:
        """Return a number that rises with every change."""
        with translated():
            found = await self._connections.client.get(
                keys.access_keys_revision(self._connections.namespace)
            )
        return int(found or 0)

    async def _write(self, records: list[KeyRecord]) -> None:
        namespace = self._connections.namespace
        fields: list[str] = []
        for record in records:
            fields += [record.id, json.dumps(asdict(record))]
        with translated():
            client = self._connections.client
            await client.hset(keys.access_keys(namespace), items=fields)
            await client.incr(keys.access_keys_revision(namespace))


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _parse(raw: bytes) -> KeyRecord:
    found = json.loads(raw)
    # A newer release may write more than this one knows.
    known = {each.name: found[each.name] for each in fields(KeyRecord) if each.name in found}
    return KeyRecord(**{**known, "role": Role(found["role"])})


def _read_keys_file(path: Path) -> list[KeyRecord]:
    try:
        lines = path.read_text().splitlines()
    except OSError as error:
        raise BadKey(f"HEADRACE_KEYS_FILE {path} cannot be read: {error.strerror}.") from error
    records = []
    for number, line in enumerate(lines, start=1):
        words = line.split(maxsplit=3)
        if not words or words[0].startswith("#"):
            continue
        match = _KEY.fullmatch(words[0])
        if match is None or len(words) < 2 or words[1] not in list(Role):
            raise BadKey(
                f"{path} line {number} must be `hr_<12>_<43 letters and digits> "
                f"{'|'.join(Role)} [tenant [name]]`."
            )
        tenant = _checked_tenant(words[2]) if len(words) > 2 else DEFAULT_TENANT
        name = words[3] if len(words) > 3 else path.name
        records.append(
            KeyRecord(match[1], tenant, Role(words[1]), name, _digest(match[2]), _now_ms())
        )
    return records


class KeyRing:
    """The keys as this process knows them, at most two seconds old while Redis answers."""

    def __init__(self, connections: RedisConnections) -> None:
        self._store = KeyStore(connections)
        self._records: dict[str, KeyRecord] = {}
        self._revision = -1
        self._seen = False
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        with contextlib.suppress(QueueUnavailable):
            await self.refresh()
        self._task = asyncio.create_task(self._follow(), name="key-ring")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def refresh(self) -> None:
        """Read the keys if they changed."""
        revision = await self._store.revision()
        if revision != self._revision:
            self._records = {record.id: record for record in await self._store.records()}
            self._revision = revision
            self._seen = self._seen or bool(self._records)

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            with contextlib.suppress(HeadraceError):
                await self.refresh()

    @property
    def known(self) -> bool:
        """Whether the keys have been read at least once; nobody is let in before."""
        return self._revision >= 0

    @property
    def any(self) -> bool:
        """Whether any key was ever seen: neither revoking the last one nor a Redis that comes back
        empty may open the door.
        """
        return self._seen

    def authenticate(self, text: str) -> KeyRecord | None:
        """Return the record of a valid key; unknown and wrong take the same time."""
        match = _KEY.fullmatch(text)
        identifier, secret = (match[1], match[2]) if match else ("", "")
        record = self._records.get(identifier)
        expected = record.digest if record else _NOBODY
        matches = hmac.compare_digest(_digest(secret), expected)
        if record is None or not matches or record.revoked_at is not None:
            return None
        return record
