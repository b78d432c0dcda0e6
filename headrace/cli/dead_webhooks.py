"""`headrace dead … --webhooks`: deliveries of all tenants that failed for good."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import typer

from headrace.cli.printing import print_json, print_table
from headrace.client.errors import RequestRefused
from headrace.client.sync import Client

Result = dict[str, Any]


def refuse_model(model: str | None) -> None:
    """BadParameter for an option that has no meaning here."""
    if model is not None:
        raise typer.BadParameter("--model narrows jobs, not --webhooks")


def show(found: list[Result], *, as_json: bool) -> None:
    """Print deliveries."""
    if as_json:
        print_json(found)
        return
    columns = ("id", "type", "tenant", "of", "status", "tries", "outcome", "url")
    print_table(columns, (_row(delivery) for delivery in found))


def _row(delivery: Result) -> tuple[object, ...]:
    tries = delivery["tries"]
    return (
        delivery["id"],
        delivery["type"],
        delivery["tenant"],
        delivery["job"] or delivery["batch"],
        delivery["status"],
        len(tries),
        tries[-1]["outcome"] if tries else "",
        delivery["url"],
    )


def chosen(client: Client, ids: list[str] | None, *, everything: bool) -> list[str]:
    """Return which deliveries are meant; BadParameter if it is not said."""
    if ids:
        return ids
    if not everything:
        raise typer.BadParameter("give ids of deliveries, or --all")
    # All before the first one: what is sent again leaves the list that is being read.
    return [delivery["id"] for delivery in client.webhooks.undelivered()]


def retry(client: Client, ids: list[str]) -> list[Result]:
    """Send them again; what became of each."""
    return _each(ids, client.webhooks.replay_undelivered, "replayed")


def purge(client: Client, ids: list[str]) -> list[Result]:
    """Erase them; what became of each."""
    return _each(ids, client.webhooks.purge, "purged")


def _each(ids: list[str], act: Callable[[str], object], done: str) -> list[Result]:
    results: list[Result] = []
    for identifier in ids:
        try:
            act(identifier)
        except RequestRefused as error:
            if error.status != 404:
                raise
            # It is gone, or under way again: that concerns this one alone.
            problem = {"code": error.code, "detail": error.detail}
            results.append(_result(identifier, "refused", problem))
        else:
            results.append(_result(identifier, done, None))
    return results


def _result(identifier: str, status: str, error: dict[str, str] | None) -> Result:
    return {"id": identifier, "status": status, "job": None, "error": error}
