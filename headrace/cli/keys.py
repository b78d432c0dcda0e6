"""`headrace keys`: straight in Redis, since the first key has to come from somewhere."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from headrace.cli.extras import require
from headrace.cli.options import Json
from headrace.cli.printing import print_json, print_table
from headrace.cli.straight import with_redis
from headrace.errors import StartRefused

if TYPE_CHECKING:
    from jobs.connection import RedisConnections
    from jobs.keystore import KeyRecord, KeyStore

T = TypeVar("T")

app = typer.Typer(
    help="Make and revoke API keys, in the Redis of HEADRACE_REDIS_URL or of the data folder.",
    no_args_is_help=True,
)


@app.command()
def create(
    *,
    role: Annotated[str, typer.Option(help="read, submit or admin.")] = "submit",
    tenant: Annotated[str, typer.Option(help="Whose jobs it sees.")] = "default",
    name: Annotated[str, typer.Option(help="To tell it from others.")] = "",
    as_json: Json = False,
) -> None:
    """Make a key and print it, this once."""
    require("server")
    from jobs.keystore import Role

    if role not in list(Role):
        raise typer.BadParameter(f"role is {role!r}; use one of {', '.join(Role)}")
    text, record = _with_store(lambda keys: keys.create(tenant=tenant, role=Role(role), name=name))
    if as_json:
        print_json(_public(record) | {"key": text})
    else:
        print(text)
        print(f"key {record.id}: role {record.role}, tenant {record.tenant}", file=sys.stderr)


@app.command("ls")
def list_keys(*, as_json: Json = False) -> None:
    """List the keys; their secrets are not kept."""
    records = [_public(record) for record in _with_store(lambda keys: keys.records())]
    if as_json:
        print_json(records)
        return
    columns = ("id", "role", "tenant", "name", "created_at", "revoked_at")
    print_table(columns, ([record[column] for column in columns] for record in records))


@app.command()
def revoke(
    identifier: Annotated[str, typer.Argument(metavar="ID", help="The id, or the key itself.")],
    *,
    as_json: Json = False,
) -> None:
    """Revoke a key for ever; no server takes it after five seconds."""
    wanted = identifier.split("_")[1] if identifier.startswith("hr_") else identifier
    record = _with_store(lambda keys: keys.revoke(wanted))
    if record is None:
        raise StartRefused(f"there is no key {wanted}; headrace keys ls lists them")
    if as_json:
        print_json(_public(record))
    else:
        print(f"{record.id} revoked")


def _with_store(use: Callable[[KeyStore], Awaitable[T]]) -> T:
    def with_keys(connections: RedisConnections) -> Awaitable[T]:
        from jobs.keystore import KeyStore

        return use(KeyStore(connections))

    return with_redis(with_keys)


def _public(record: KeyRecord) -> dict[str, Any]:
    shown = dataclasses.asdict(record)
    del shown["digest"]
    return shown | {
        "role": str(record.role),
        "created_at": _time(record.created_at),
        "revoked_at": _time(record.revoked_at),
    }


def _time(milliseconds: int | None) -> str | None:
    if milliseconds is None:
        return None
    at = datetime.fromtimestamp(milliseconds / 1000, UTC)
    return at.isoformat(timespec="milliseconds").replace("+00:00", "Z")
