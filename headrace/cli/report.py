"""How a command ends: 0 done, 1 the job failed, 2 usage or refused input, 3 unreachable."""

from __future__ import annotations

import sys
from typing import Any

import typer
from typer.core import TyperGroup

from headrace.client.errors import (
    HeadraceError,
    JobFailed,
    RateLimited,
    RequestRefused,
    ServerUnreachable,
    Unavailable,
    WaitTimeout,
)
from headrace.errors import StartRefused

FAILED, REFUSED, UNREACHABLE = 1, 2, 3


class ReportingGroup(TyperGroup):
    """Turns what a command raises into a sentence on standard error and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        """Run the command that was asked for."""
        try:
            return super().invoke(ctx)
        except (HeadraceError, StartRefused) as error:
            complain(error)
            raise typer.Exit(exit_code(error)) from error


def exit_code(error: Exception) -> int:
    """Return the exit code for an error."""
    match error:
        case JobFailed() | WaitTimeout():
            return FAILED
        case ServerUnreachable() | Unavailable() | RateLimited():
            return UNREACHABLE
        case _:
            return REFUSED


def complain(error: Exception) -> None:
    """Say what is wrong, and each wrong field."""
    print(f"headrace: {error}", file=sys.stderr)
    if isinstance(error, RequestRefused):
        for item in error.errors:
            place = ".".join(str(part) for part in item.get("loc", []))
            print(f"  {place}: {item.get('msg', '')}", file=sys.stderr)
