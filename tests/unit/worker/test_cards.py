"""When a card is published."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from jobs.errors import QueueUnavailable
from worker.card_publisher import CardPublisher


class Cards:
    """A card store that may be away."""

    def __init__(self) -> None:
        self.published: list[str] = []
        self.serving: dict[str, str] = {}
        self.away = 0

    async def publish(
        self, card: bytes, *, model: str, version: str, production: bool = True
    ) -> None:
        if self.away:
            self.away -= 1
            raise QueueUnavailable("away")
        self.published.append(json.loads(card)["note"])
        if production:
            self.serving[model] = version

    async def production(self) -> dict[str, str]:
        return dict(self.serving)


def card(note: str, stamp: str = "now") -> bytes:
    return json.dumps({"note": note, "published_at": stamp}).encode()


@pytest.fixture
def cards() -> Cards:
    return Cards()


@pytest.fixture
async def publisher(cards: Cards) -> AsyncIterator[CardPublisher]:
    made = CardPublisher(cards, "m", "2")
    task = asyncio.create_task(made.run())
    yield made
    task.cancel()
    await asyncio.wait({task})


async def test_a_model_that_nobody_served_is_known_before_its_weights_are_there(publisher, cards):
    publisher.publish(card("described"), loaded=False)
    await asyncio.sleep(0.01)
    assert cards.published == ["described"]


async def test_a_new_version_takes_over_only_once_it_has_loaded(publisher, cards):
    cards.serving = {"m": "1"}
    publisher.publish(card("same"), loaded=False)
    await asyncio.sleep(0.01)
    assert cards.published == []
    publisher.publish(card("same"), loaded=True)
    await asyncio.sleep(0.01)
    assert (cards.published, cards.serving) == (["same"], {"m": "2"})


async def test_a_version_that_is_kept_for_who_pins_it_is_known_and_takes_nothing_over(cards):
    cards.serving = {"m": "1"}
    publisher = CardPublisher(cards, "m", "2", pinned_only=True)
    task = asyncio.create_task(publisher.run())
    for loaded in (False, True):
        publisher.publish(card("same"), loaded=loaded)
        await asyncio.sleep(0.01)
    task.cancel()
    assert (cards.published, cards.serving) == (["same", "same"], {"m": "1"})


async def test_a_card_that_says_nothing_new_is_not_published_again(publisher, cards):
    for stamp in ("a", "b", "c"):
        publisher.publish(card("same", stamp), loaded=True)
        await asyncio.sleep(0.01)
    publisher.publish(card("other"), loaded=True)
    await asyncio.sleep(0.01)
    assert cards.published == ["same", "other"]


async def test_a_card_waits_for_redis(publisher, cards):
    cards.away = 1
    publisher.publish(card("late"), loaded=True)
    await asyncio.sleep(0.3)
    assert cards.published == ["late"]
