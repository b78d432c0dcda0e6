"""`headrace dead`: jobs of all tenants that failed or timed out."""

from __future__ import annotations

from itertools import islice
from typing import Annotated, Any

import typer

from headrace.cli import dead_webhooks
from headrace.cli.options import JobId, Json, Key, Url
from headrace.cli.printing import print_json, print_table
from headrace.cli.report import REFUSED
from headrace.client.flows import DeadOptions
from headrace.client.sync import Client

app = typer.Typer(
    help="See, run again or erase what failed, of all tenants; needs an admin key.",
    no_args_is_help=True,
)

Chosen = Annotated[
    list[str] | None, typer.Argument(metavar="[ID]...", help="Ids of jobs, or of deliveries.")
]
Model = Annotated[str | None, typer.Option(help="Only of this model.")]
All = Annotated[bool, typer.Option("--all", help="All of every model.")]
OfWebhooks = Annotated[
    bool, typer.Option("--webhooks", help="Deliveries of webhooks instead of jobs.")
]


@app.command("ls")
def list_dead(
    *,
    model: Model = None,
    of_webhooks: OfWebhooks = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """List them, the last to end first."""
    if of_webhooks:
        dead_webhooks.refuse_model(model)
        with Client(url, key) as client:
            dead_webhooks.show(list(islice(client.webhooks.undelivered(), limit)), as_json=as_json)
        return
    with Client(url, key) as client:
        found = list(islice(client.dead.all(model), limit))
    if as_json:
        print_json(found)
        return
    columns = ("id", "model", "tenant", "code", "tries", "worker", "ended", "retried as")
    print_table(columns, (_row(letter) for letter in found))


def _row(letter: dict[str, Any]) -> tuple[object, ...]:
    attempts = letter["attempts"]
    return (
        letter["id"],
        f"{letter['model']}@{letter['version']}",
        letter["tenant"],
        letter["error"]["code"],
        len(attempts),
        attempts[-1]["worker"] if attempts else "",
        letter["finished_at"],
        letter["retried_as"],
    )


@app.command()
def get(job_id: JobId, *, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Print one with each of its attempts."""
    with Client(url, key) as client:
        letter = client.dead.get(job_id)
    if as_json:
        print_json(letter)
        return
    error = letter["error"]
    print(f"{letter['id']} of {letter['model']}@{letter['version']}, tenant {letter['tenant']}")
    print(f"{letter['status']}: {error['code']}: {error.get('detail', '')}")
    for each in letter["attempts"]:
        charged = ", charged a crash" if each["charged"] else ""
        began = each["started_at"] or "never begun"
        print(f"attempt {each['attempt']} on {each['worker']}: {each['reason']}{charged}")
        print(f"  {began} to {each['ended_at']}")
        for line in each["detail"].splitlines():
            print(f"  | {line}")


@app.command()
def retry(  # noqa: PLR0913 (to typer an option is a parameter)
    ids: Chosen = None,
    *,
    model: Model = None,
    everything: All = False,
    of_webhooks: OfWebhooks = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Run them again as new jobs of their own tenants, each once however often it is asked."""
    if of_webhooks:
        dead_webhooks.refuse_model(model)
        with Client(url, key) as client:
            chosen_ids = dead_webhooks.chosen(client, ids, everything=everything)
            _report(dead_webhooks.retry(client, chosen_ids), as_json=as_json)
        return
    chosen = _chosen(ids, model, everything=everything)
    with Client(url, key) as client:
        _report(client.dead.retry(**chosen), as_json=as_json)


@app.command()
def purge(  # noqa: PLR0913 (to typer an option is a parameter)
    ids: Chosen = None,
    *,
    model: Model = None,
    everything: All = False,
    of_webhooks: OfWebhooks = False,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Erase them, with all that is kept of them."""
    if of_webhooks:
        dead_webhooks.refuse_model(model)
        with Client(url, key) as client:
            chosen_ids = dead_webhooks.chosen(client, ids, everything=everything)
            _report(dead_webhooks.purge(client, chosen_ids), as_json=as_json)
        return
    chosen = _chosen(ids, model, everything=everything)
    with Client(url, key) as client:
        _report(client.dead.purge(**chosen), as_json=as_json)


def _chosen(job_ids: list[str] | None, model: str | None, *, everything: bool) -> DeadOptions:
    if not job_ids and model is None and not everything:
        raise typer.BadParameter("give ids of jobs, --model, or --all")
    chosen: DeadOptions = {"ids": job_ids or [], "all": everything}
    if model is not None:
        chosen["model"] = model
    return chosen


def _report(results: list[dict[str, Any]], *, as_json: bool) -> None:
    if as_json:
        print_json(results)
    else:
        for one in results:
            error = one["error"]
            more = one["job"] if error is None else f"{error['code']}: {error['detail']}"
            print(one["id"], one["status"], *([more] if more else []))
    if any(one["status"] == "refused" for one in results):
        raise typer.Exit(REFUSED)
