"""`headrace models`."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from headrace.cli.options import Json, Key, Url
from headrace.cli.printing import print_json, print_table
from headrace.client.sync import Client

app = typer.Typer(help="See the models of a server.", no_args_is_help=True)


@app.command("ls")
def list_models(*, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """List the models and how they stand."""
    with Client(url, key) as client:
        cards = client.models.list()
    if as_json:
        print_json(cards)
        return
    rows = (
        (
            card["name"],
            card.get("state"),
            (card.get("queue") or {}).get("queued"),
            (card.get("queue") or {}).get("running"),
            card.get("reason") or card.get("description"),
        )
        for card in cards
    )
    print_table(("model", "state", "queued", "running", ""), rows)


@app.command()
def show(
    model: Annotated[str, typer.Argument(help="The model, or model@version.")],
    *,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Print a model's card."""
    with Client(url, key) as client:
        card = client.models.get(model)
    if as_json:
        print_json(card)
        return
    for name, value in card.items():
        if value not in (None, ""):
            print(f"{name}: {value if isinstance(value, str) else json.dumps(value, indent=2)}")
