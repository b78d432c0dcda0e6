"""When a card is published."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator

import pytest

from jobs.errors import QueueUnavailable
from worker.card_publisher import CardPublisher

from .waiting import turns, until


class Cards:
    """A card store that may be away."""

    def __init__(self) -> None:
        self.published: list[str] = []
        self.serving: dict[str, str] = {}
        self.away = 0
        self.asked = 0

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
        self.asked += 1
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
    await turns()
    assert cards.published == ["described"]


async def test_a_new_version_takes_over_only_once_it_has_loaded(publisher, cards):
    cards.serving = {"m": "1"}
    publisher.publish(card("same"), loaded=False)
    await turns()
    assert (cards.asked, cards.published) == (1, [])
    publisher.publish(card("same"), loaded=True)
    await turns()
    assert (cards.published, cards.serving) == (["same"], {"m": "2"})


async def test_a_version_that_is_kept_for_who_pins_it_is_known_and_takes_nothing_over(cards):
    cards.serving = {"m": "1"}
    publisher = CardPublisher(cards, "m", "2", pinned_only=True)
    task = asyncio.create_task(publisher.run())
    for loaded in (False, True):
        publisher.publish(card("same"), loaded=loaded)
        await turns()
    task.cancel()
    assert (cards.published, cards.serving) == (["same", "same"], {"m": "1"})


async def test_a_card_that_says_nothing_new_is_not_published_again(publisher, cards):
    for stamp in ("a", "b", "c"):
        publisher.publish(card("same", stamp), loaded=True)
        await turns()
    publisher.publish(card("other"), loaded=True)
    await turns()
    assert cards.published == ["same", "other"]


async def test_a_card_waits_for_redis(publisher, cards):
    cards.away = 1
    publisher.publish(card("late"), loaded=True)
    await turns()
    assert (cards.away, cards.published) == (0, [])
    await until(lambda: cards.published)
    assert cards.published == ["late"]
