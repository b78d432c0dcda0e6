"""Publishes the model's card, and insists until Redis has it."""

import asyncio

import orjson

from jobs.cards import CardStore
from telemetry import logs
from worker.backoff import TRANSIENT, Backoff

#: the one member of a card that differs each time a model is loaded
STAMP = "published_at"

log = logs.get("worker.card_publisher")


class CardPublisher:
    """The newest card is the one that counts."""

    def __init__(
        self, cards: CardStore, model: str, version: str, *, pinned_only: bool = False
    ) -> None:
        self._cards = cards
        self._model = model
        self._version = version
        self._pinned_only = pinned_only
        self._card: bytes | None = None
        self._loaded = False
        self._given = asyncio.Event()
        self._published: dict[str, object] = {}

    def publish(self, card: bytes, *, loaded: bool) -> None:
        """Have this card published, unless it says nothing new."""
        said = {name: value for name, value in orjson.loads(card).items() if name != STAMP}
        if said != self._published or (loaded and not self._loaded):
            self._card, self._published = card, said
            self._loaded = self._loaded or loaded
            self._given.set()

    async def run(self) -> None:
        """Publish what is given until canceled."""
        backoff = Backoff(0.1, 5.0)
        while True:
            await self._given.wait()
            self._given.clear()
            try:
                await self._publish()
                backoff.reset()
            except TRANSIENT as error:
                log.warning("card_not_published", why=error.detail)
                await asyncio.sleep(backoff.next_s())
                self._given.set()

    async def _publish(self) -> None:
        card, loaded = self._card, self._loaded
        if card is None:
            return
        if not loaded and not self._pinned_only:
            # Submits to a model that is being loaded are accepted; but a new version gets the
            # unpinned ones only once it has proved that it loads.
            serving = (await self._cards.production()).get(self._model)
            if serving not in (None, self._version):
                return
        about = {"model": self._model, "version": self._version}
        await self._cards.publish(card, **about, production=not self._pinned_only)
        log.info("card_published", loaded=loaded)
