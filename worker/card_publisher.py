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

    def __init__(self, cards: CardStore, model: str, version: str) -> None:
        self._cards = cards
        self._model = model
        self._version = version
        self._card: bytes | None = None
        self._published: dict[str, object] = {}
        self._given = asyncio.Event()

    def publish(self, card: bytes) -> None:
        """Have this card published, unless it says nothing new."""
        said = {name: value for name, value in orjson.loads(card).items() if name != STAMP}
        if said != self._published:
            self._card, self._published = card, said
            self._given.set()

    async def run(self) -> None:
        """Publish what is given until canceled."""
        backoff = Backoff(0.1, 5.0)
        while True:
            await self._given.wait()
            self._given.clear()
            if self._card is None:
                continue
            try:
                await self._cards.publish(self._card, model=self._model, version=self._version)
                backoff.reset()
                log.info("card_published")
            except TRANSIENT as error:
                log.warning("card_not_published", why=error.detail)
                await asyncio.sleep(backoff.next_s())
                self._given.set()
