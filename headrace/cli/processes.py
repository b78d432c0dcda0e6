"""`headrace up`, `headrace api` and `headrace worker`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from headrace.cli.extras import require
from headrace.errors import StartRefused

Folders = Annotated[
    list[Path] | None,
    typer.Argument(metavar="[DIR]...", help="Model folders; by default the current folder."),
]
Host = Annotated[str | None, typer.Option(help="Address to listen on. [default: 127.0.0.1]")]
Port = Annotated[int | None, typer.Option(help="Port to listen on, 0 for any. [default: 8000]")]
ApiWorkers = Annotated[int | None, typer.Option(min=1, help="HTTP processes. [default: 1]")]
Insecure = Annotated[bool, typer.Option("--insecure", help="Off loopback without any key.")]


def up(
    folders: Folders = None,
    *,
    host: Host = None,
    port: Port = None,
    api_workers: ApiWorkers = None,
    insecure: Insecure = False,
    data_dir: Annotated[
        Path | None, typer.Option(help="Where Redis and logs are kept. [default: .headrace]")
    ] = None,
) -> None:
    """Run everything on this machine: Redis, the API, and a worker for each model folder."""
    require("server", "worker")
    from headrace.settings import UpSettings
    from headrace.up.check import served_models
    from headrace.up.main import run
    from telemetry.settings import SettingsError

    models = served_models(folders or [_current_folder()])
    given: dict[str, Any] = {
        "api_host": host,
        "api_port": port,
        "api_workers": api_workers,
        "insecure": insecure or None,
        "data_dir": data_dir,
    }
    try:
        settings = UpSettings.read(
            **{name: value for name, value in given.items() if value is not None}
        )
    except SettingsError as error:
        raise StartRefused(str(error)) from error
    raise typer.Exit(run(settings, models))


def api(
    *,
    host: Host = None,
    port: Port = None,
    api_workers: ApiWorkers = None,
    insecure: Insecure = False,
) -> None:
    """Run the HTTP front."""
    require("server")
    given = {
        "HEADRACE_API_HOST": host,
        "HEADRACE_API_PORT": port,
        "HEADRACE_API_WORKERS": api_workers,
        "HEADRACE_INSECURE": insecure or None,
    }
    become("api", [], {name: str(value) for name, value in given.items() if value is not None})


def worker(
    models: Annotated[list[str], typer.Argument(metavar="DIR...", help="Model folders.")],
    *,
    publish_cards: Annotated[
        bool,
        typer.Option(
            "--publish-cards",
            help="Make the models known, so that they take jobs, and end; needs no GPU.",
        ),
    ] = False,
    within: Annotated[
        float | None,
        typer.Option(min=0, help="Seconds that --publish-cards waits for Redis. [default: 60]"),
    ] = None,
) -> None:
    """Run the worker of one GPU."""
    require("worker")
    options = ["--publish-cards"] if publish_cards else []
    if within is not None:
        options += ["--within", str(within)]
    become("worker", [*options, *models], {})


def _current_folder() -> Path:
    here = Path.cwd()
    if not (here / "model.py").exists():
        raise StartRefused(
            "there is no model.py here: give a model folder, as in headrace up examples/echo"
        )
    return here


def become(module: str, arguments: list[str], environment: dict[str, str]) -> None:
    """Replace this process: signals, exit code and logs are then the module's own."""
    words = [sys.executable, "-P", "-m", module, *arguments]
    os.execve(sys.executable, words, os.environ | environment)
