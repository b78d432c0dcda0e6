"""`headrace webhooks run`."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from headrace.cli.extras import require
from headrace.cli.processes import become


class Part(StrEnum):
    """One of the processes that tell receivers of events."""

    SENDER = "sender"
    RETRIES = "retries"
    CRON = "cron"


def run(
    *,
    only: Annotated[Part | None, typer.Option(help="Run one part. [default: all three]")] = None,
) -> None:
    """Tell receivers of events: the sender, its retries, and the cron that repairs them."""
    require("server")
    become("webhooks", [] if only is None else ["--only", only.value], {})
