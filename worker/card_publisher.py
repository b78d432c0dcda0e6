"""Publishes the model's card, and insists until Redis has it."""

import asyncio

from jobs.cards import CardStore
from telemetry import logs
from worker.backoff import TRANSIENT, Backoff

log = logs.get("worker.card_publisher")


class CardPublisher:
    """The newest card is the one that counts."""

    def __init__(self, cards: CardStore, model: str, version: str) -> None:
        self._cards = cards
        self._model = model
        self._version = version
        self._card: bytes | None = None
        self._given = asyncio.Event()

    def publish(self, card: bytes) -> None:
        """Have this card published."""
        self._card = card
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
