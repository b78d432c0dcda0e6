"""`headrace webhooks`: what became of them, the secrets that sign them, and who sends them."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from headrace.cli.options import Json, Key, Url
from headrace.cli.printing import print_json, print_table
from headrace.cli.straight import with_redis
from headrace.cli.webhooks_run import run
from headrace.client.sync import Client

if TYPE_CHECKING:
    from jobs.connection import RedisConnections
    from jobs.webhook_secrets import WebhookSecrets

T = TypeVar("T")

app = typer.Typer(
    help="Send webhooks, look at what became of them, and make the secrets that sign them.",
    no_args_is_help=True,
)
secret = typer.Typer(
    help="Secrets of tenants, in the Redis of HEADRACE_REDIS_URL or of the data folder.",
    no_args_is_help=True,
)
endpoints = typer.Typer(
    help="Receivers that fail or are disabled; needs an admin key.", no_args_is_help=True
)
app.add_typer(secret, name="secret")
app.add_typer(endpoints, name="endpoints")

app.command("run")(run)

Owner = Annotated[str, typer.Argument(metavar="JOB", help="The id of a job, or of a batch.")]
Tenant = Annotated[str, typer.Option(help="Whose events it signs.")]


@app.command("ls")
def list_deliveries(
    owner: Owner, *, url: Url = None, key: Key = None, as_json: Json = False
) -> None:
    """List the deliveries of a job, oldest first."""
    with Client(url, key) as client:
        found = client.webhooks.list(owner)
    if as_json:
        print_json(found)
        return
    columns = ("id", "type", "status", "tries", "outcome", "next", "url")
    print_table(columns, (_row(delivery) for delivery in found))


def _row(delivery: dict[str, Any]) -> tuple[object, ...]:
    tries = delivery["tries"]
    return (
        delivery["id"],
        delivery["type"],
        delivery["status"],
        len(tries),
        tries[-1]["outcome"] if tries else "",
        delivery["next_at"],
        delivery["url"],
    )


@app.command()
def replay(
    owner: Owner,
    webhook_id: Annotated[str, typer.Argument(metavar="WH", help="The id of a delivery.")],
    *,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """Send a delivery again: the same id, the same body."""
    with Client(url, key) as client:
        delivery = client.webhooks.replay(owner, webhook_id)
    if as_json:
        print_json(delivery)
    else:
        print(delivery["id"], delivery["status"])


@secret.command("create")
def create_secret(*, tenant: Tenant = "default", as_json: Json = False) -> None:
    """Make a tenant's first secret and print it, this once."""
    text = _with_secrets(lambda secrets: secrets.create(tenant))
    _print_secret(tenant, text, "", as_json=as_json)


@secret.command("rotate")
def rotate_secret(
    *,
    tenant: Tenant = "default",
    overlap_s: Annotated[
        float, typer.Option(min=0, help="Seconds in which the one before signs as well.")
    ] = 86_400,
    as_json: Json = False,
) -> None:
    """Make a new secret in place of a tenant's, and print it, this once."""
    text = _with_secrets(lambda secrets: secrets.rotate(tenant, overlap_s))
    more = f"; the one before signs beside it for {overlap_s:g} s" if overlap_s else ""
    _print_secret(tenant, text, more, as_json=as_json)


def _print_secret(tenant: str, text: str, more: str, *, as_json: bool) -> None:
    if as_json:
        print_json({"tenant": tenant, "secret": text})
        return
    print(text)
    print(f"signs the webhooks of the tenant {tenant}{more}", file=sys.stderr)


def _with_secrets(use: Callable[[WebhookSecrets], Awaitable[T]]) -> T:
    def with_them(connections: RedisConnections) -> Awaitable[T]:
        from jobs.webhook_secrets import WebhookSecrets

        return use(WebhookSecrets(connections))

    return with_redis(with_them)


@endpoints.command("ls")
def list_endpoints(*, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """List them."""
    with Client(url, key) as client:
        found = client.webhooks.endpoints()
    if as_json:
        print_json(found)
        return
    columns = ("id", "tenant", "status", "failing_since", "disabled_at", "reason", "url")
    print_table(columns, ([endpoint[name] for name in columns] for endpoint in found))


@endpoints.command("enable")
def enable_endpoint(
    endpoint_id: Annotated[str, typer.Argument(metavar="ENDPOINT", help="Its id.")],
    *,
    url: Url = None,
    key: Key = None,
) -> None:
    """Send to a disabled one again; what was held back meanwhile is sent by a replay."""
    with Client(url, key) as client:
        client.webhooks.enable(endpoint_id)
