"""Model cards: durable, and followed live by every process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, cast

from jobs import keys
from jobs.connection import RedisConnections, translated
from jobs.errors import HeadraceError, ModelNotFound, QueueUnavailable, VersionNotFound

#: How long a change of a card may go unseen.
REFRESH_S = 1.0
#: A miss looks again at once, but not more often than this.
_MISS_S = 0.1


@dataclass(frozen=True, slots=True)
class CardEntry:
    """One version of a model as its worker published it."""

    model: str
    version: str
    shards: tuple[int, ...]
    raw: bytes
    card: dict[str, Any]
    #: The lists of shards that the model had before: jobs may wait there, and keys be known.
    earlier: tuple[tuple[int, ...], ...] = ()

    @property
    def served(self) -> list[int]:
        """Every shard that may hold a job of this model, sorted."""
        return sorted({*self.shards, *(shard for each in self.earlier for shard in each)})


class CardStore:
    """Writes and reads the cards of all models."""

    def __init__(self, connections: RedisConnections) -> None:
        self._connections = connections
        #: The cards whose change this store has certainly told of, by their field.
        self._told: dict[str, bytes] = {}

    async def publish(
        self, card: bytes, *, model: str, version: str, production: bool = True
    ) -> None:
        """Store a card and make its version the one that unpinned submits get.

        Not in `production`, it becomes that of a model which has none. The card keeps in mind where
        the model lived before.
        """
        namespace = self._connections.namespace
        field = f"{model}@{version}"
        card = _with_earlier(card, [e for e in await self.entries() if e.model == model])
        with translated():
            client = self._connections.client
            serving = await client.hget(keys.production(namespace), model)
            named = serving == version.encode() if production else serving is not None
            stored = await client.hget(keys.cards(namespace), field) == card and named
            if stored and self._told.get(field) == card:
                return
            self._told.pop(field, None)
            # Three slots on a Cluster, so no transaction: the revision last, readers then see all.
            if not stored:
                await client.hset(keys.cards(namespace), field, card)
                # Whoever has put another version into production meanwhile must not be undone.
                put = client.hset if production else client.hsetnx
                await put(keys.production(namespace), model, version)
            # Also for what is stored: whoever stored it may have been cut off before this.
            await client.incr(keys.cards_revision(namespace))
            self._told[field] = card

    async def remove(self, model: str) -> None:
        """Forget every version of a model; its jobs stay as they are."""
        namespace = self._connections.namespace
        gone = [entry for entry in await self.entries() if entry.model == model]
        with translated():
            client = self._connections.client
            await client.hdel(keys.production(namespace), model)
            for entry in gone:
                await client.hdel(keys.cards(namespace), f"{model}@{entry.version}")
            await client.incr(keys.cards_revision(namespace))

    async def revision(self) -> int:
        """Return a number that rises with every change."""
        with translated():
            found = await self._connections.client.get(
                keys.cards_revision(self._connections.namespace)
            )
        return int(found or 0)

    async def entries(self) -> list[CardEntry]:
        """Return all cards."""
        with translated():
            found = await self._connections.client.hgetall(keys.cards(self._connections.namespace))
        return [_entry(field, raw) for field, raw in cast(dict[bytes, bytes], found).items()]

    async def production(self) -> dict[str, str]:
        """Return the version that an unpinned submit gets, for each model."""
        with translated():
            found = await self._connections.client.hgetall(
                keys.production(self._connections.namespace)
            )
        return {
            model.decode(): version.decode()
            for model, version in cast(dict[bytes, bytes], found).items()
        }


def _entry(field: bytes, raw: bytes) -> CardEntry:
    model, _, version = field.decode().partition("@")
    card = json.loads(raw)
    earlier = tuple(tuple(each) for each in card.get("earlier_shards", ()))
    return CardEntry(model, version, tuple(card["shards"]), raw, card, earlier)


def _with_earlier(card: bytes, known: Sequence[CardEntry]) -> bytes:
    values = json.loads(card)
    lists = {each for entry in known for each in (entry.shards, *entry.earlier)}
    lists.discard(tuple(values["shards"]))
    if not lists:
        return card
    values["earlier_shards"] = sorted(lists)
    return json.dumps(values, ensure_ascii=False).encode()


class CardWatch:
    """The cards as this process knows them, never older than a second while Redis answers."""

    def __init__(self, connections: RedisConnections) -> None:
        self._store = CardStore(connections)
        self._entries: dict[tuple[str, str], CardEntry] = {}
        self._production: dict[str, str] = {}
        self._looked_at = float("-inf")
        self._looking = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self.revision = -1

    async def __aenter__(self) -> Self:
        with contextlib.suppress(QueueUnavailable):
            await self.refresh()
        self._task = asyncio.create_task(self._follow(), name="card-watch")
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
        """Read the cards if they changed."""
        began_at = time.monotonic()
        # Read before the cards: what is published in between raises it again.
        revision = await self._store.revision()
        if revision != self.revision:
            entries = await self._store.entries()
            self._production = await self._store.production()
            self._entries = {(entry.model, entry.version): entry for entry in entries}
            self.revision = revision
        # Only now: a look that failed has seen nothing, and nobody may take it for one.
        self._looked_at = began_at

    async def _follow(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_S)
            with contextlib.suppress(HeadraceError):
                await self.refresh()

    def models(self) -> list[str]:
        """Return the names of all models, sorted."""
        return sorted(self._production)

    def versions(self, model: str) -> list[CardEntry]:
        """Return every version of a model."""
        return [entry for entry in self._entries.values() if entry.model == model]

    def production(self, model: str) -> str:
        """Return the version that an unpinned submit gets; empty where there is no such model."""
        return self._production.get(model, "")

    def shards(self, models: Sequence[str] | None = None) -> dict[str, Sequence[int]]:
        """Return the shards that each model lives on, or has lived on."""
        found: dict[str, Sequence[int]] = {}
        for entry in self._entries.values():
            if models is None or entry.model in models:
                found[entry.model] = sorted({*found.get(entry.model, ()), *entry.served})
        return found

    def get(self, name: str) -> CardEntry:
        """Return the card of `model` or `model@version`.

        Raises ModelNotFound, VersionNotFound.
        """
        model, pinned, version = name.partition("@")
        if model not in self._production:
            known = ", ".join(self.models()) or "none yet"
            raise ModelNotFound(f"There is no model {model!r}. Known models: {known}.")
        entry = self._entries.get((model, version if pinned else self._production[model]))
        if entry is None:
            have = ", ".join(sorted(entry.version for entry in self.versions(model)))
            raise VersionNotFound(f"Model {model!r} has no version {version!r}. It has: {have}.")
        return entry

    async def find(self, name: str) -> CardEntry:
        """Return a card as `get` does, but look again before saying that there is none."""
        try:
            return self.get(name)
        except (ModelNotFound, VersionNotFound):
            asked_at = time.monotonic()
            # Who asks while another is looking waits for what that one finds.
            async with self._looking:
                if self._looked_at < asked_at - _MISS_S:
                    await self.refresh()
            return self.get(name)
