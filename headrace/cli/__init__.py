"""The command line. What a command needs is imported when it runs: `--help` stays quick."""

from __future__ import annotations

from importlib.metadata import PackageNotFoundError, version

import typer

from headrace.cli import dead, jobs, keys, models, processes, submit, webhooks
from headrace.cli.doctor import doctor
from headrace.cli.report import ReportingGroup

app = typer.Typer(
    name="headrace",
    cls=ReportingGroup,
    help="Durable job APIs for models on a GPU.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
app.command("up")(processes.up)
app.command("api")(processes.api)
app.command("worker")(processes.worker)
app.command("submit")(submit.submit)
app.command("doctor")(doctor)
app.add_typer(jobs.app, name="jobs")
app.add_typer(dead.app, name="dead")
app.add_typer(models.app, name="models")
app.add_typer(keys.app, name="keys")
app.add_typer(webhooks.app, name="webhooks")


def _print_version(wanted: bool) -> None:
    if wanted:
        try:
            typer.echo(version("headrace"))
        except PackageNotFoundError:
            typer.echo("unknown: headrace is not installed as a package")
        raise typer.Exit


@app.callback()
def options(
    _: bool = typer.Option(
        False, "--version", callback=_print_version, is_eager=True, help="Print the version."
    ),
) -> None:
    """Durable job APIs for models on a GPU."""


def main() -> None:
    """Run the command line."""
    app()
