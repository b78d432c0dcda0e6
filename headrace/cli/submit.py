"""`headrace submit`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from headrace.cli.options import Json, Key, Url
from headrace.cli.printing import finish, print_job
from headrace.client import exchange
from headrace.client.flows import SubmitOptions, WebhookOptions
from headrace.client.sync import Client


def submit(  # noqa: PLR0913 (to typer an option is a parameter)
    model: Annotated[str, typer.Argument(help="The model, or model@version.")],
    value: Annotated[str, typer.Argument(metavar="JSON|-|@FILE", help="The input.")],
    *,
    wait: Annotated[bool, typer.Option("--wait", help="Wait and print the output.")] = False,
    follow_it: Annotated[
        bool, typer.Option("--follow", help="Wait, and tell state and progress meanwhile.")
    ] = False,
    priority: Annotated[str | None, typer.Option(help="high, normal or low.")] = None,
    deadline: Annotated[
        float | None, typer.Option(help="Seconds in which it has to have started.")
    ] = None,
    timeout: Annotated[float | None, typer.Option(help="Seconds it may run.")] = None,
    idempotency_key: Annotated[
        str | None, typer.Option(help="The same key makes the same job.")
    ] = None,
    metadata: Annotated[str | None, typer.Option(help="A JSON object kept with the job.")] = None,
    webhook: Annotated[str | None, typer.Option(help="URL to send the job's events to.")] = None,
    webhook_event: Annotated[
        list[str] | None, typer.Option(help="Only such events; may be repeated.")
    ] = None,
    webhook_secret: Annotated[
        str | None, typer.Option(help="Signs them instead of the tenant's secret.")
    ] = None,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Submit a job."""
    content = read_input(value)
    options: dict[str, Any] = {
        "priority": priority,
        "deadline_s": deadline,
        "timeout_s": timeout,
        "idempotency_key": idempotency_key,
        "metadata": None if metadata is None else _parse(metadata, "--metadata"),
        "webhook": _webhook(webhook, webhook_event, webhook_secret),
    }
    given: SubmitOptions = {  # type: ignore[assignment]
        name: option for name, option in options.items() if option is not None
    }
    with Client(url, key) as client:
        job = client.submit(model, content, **given)
        if not (wait or follow_it):
            print_job(job, as_json=as_json)
            return
        finish(job, told=follow_it, as_json=as_json)


def _webhook(
    url: str | None, events: list[str] | None, secret: str | None
) -> WebhookOptions | None:
    if url is None:
        if events or secret:
            raise typer.BadParameter("give --webhook URL, too")
        return None
    given: WebhookOptions = {"url": url}
    if events:
        given["events"] = events
    if secret:
        given["secret"] = secret
    return given


def read_input(value: str) -> Any:
    """Read JSON from the argument, from standard input (-) or from a file (@name)."""
    if value == "-":
        return _parse(sys.stdin.read(), "standard input")
    if value.startswith("@"):
        path = Path(value[1:])
        try:
            return _parse(path.read_text(encoding="utf-8"), str(path))
        except (OSError, UnicodeDecodeError) as error:
            raise typer.BadParameter(f"{path} cannot be read: {error}") from error
    return _parse(value, "the input")


def _parse(text: str, place: str) -> Any:
    try:
        value = json.loads(text)
        # What JSON itself does not know (NaN, half a surrogate pair) is found where it is written.
        exchange.body(value)
    except ValueError as error:
        raise typer.BadParameter(f"{place} is not JSON: {error}") from error
    return value
