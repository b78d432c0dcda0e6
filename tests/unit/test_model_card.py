"""A card goes to Redis and back unchanged, and is read without any model's code."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from model_store.card import Card, card_of
from model_store.errors import CardError
from model_store.limits import Limits
from model_store.loader import load_folder

ECHO = Path(__file__).parents[2] / "examples" / "echo"


def test_the_card_of_a_model() -> None:
    card = card_of(load_folder(ECHO), [17])
    assert (card.name, card.version, card.shards) == ("echo", "1", (17,))
    assert card.limits == Limits(max_batch=64)
    assert card.example == {"message": "hello"}
    assert card.input_schema["required"] == ["message"]
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", card.published_at)


def test_a_card_comes_back_as_it_was() -> None:
    card = Card(
        name="a",
        version="2",
        description="Ünïcode",
        input_schema={"type": "object"},
        output_schema={},
        limits=Limits(max_batch=4, buckets=(1, 2.5), max_cost=9),
        example={"x": [1, None]},
        shards=(1, 2),
        requirements=("numpy",),
        published_at="2026-01-01T00:00:00.000Z",
    )
    assert Card.from_json(card.to_json()) == card


def test_a_newer_card_is_read_for_what_is_known() -> None:
    values = json.loads(Card(name="a", version="1", input_schema={}, output_schema={}).to_json())
    values |= {"format": 2, "alias": "x"}
    values["limits"]["max_tokens"] = 3
    assert Card.from_json(json.dumps(values)).limits == Limits()


@pytest.mark.parametrize("text", [b"", b"[]", b"{}", b"3", b'{"name": "a"}', b"\xff"])
def test_what_is_no_card_is_refused(text: bytes) -> None:
    with pytest.raises(CardError, match="not a model's card"):
        Card.from_json(text)


def test_reading_cards_needs_neither_pydantic_nor_torch() -> None:
    code = "import sys, model_store.card; print({'pydantic', 'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"
