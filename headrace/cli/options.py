"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

Url = Annotated[
    str | None, typer.Option("--url", help="The server. [env: HEADRACE_URL]", show_default=False)
]
Key = Annotated[
    str | None,
    typer.Option("--key", help="The API key. [env: HEADRACE_API_KEY]", show_default=False),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON.")]
JobId = Annotated[str, typer.Argument(metavar="JOB", help="The id of a job.")]
JobIds = Annotated[list[str], typer.Argument(metavar="JOB...", help="Ids of jobs.")]
