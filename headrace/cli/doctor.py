"""`headrace doctor`: what is wrong with a Headrace, and what to do about it."""

from __future__ import annotations

import asyncio
import dataclasses
from typing import TYPE_CHECKING, Annotated

import typer

from headrace.cli.extras import require
from headrace.cli.options import Json
from headrace.cli.printing import print_json, print_table
from headrace.cli.report import FAILED
from headrace.client.errors import ServerUnreachable
from headrace.errors import StartRefused

if TYPE_CHECKING:
    from headrace.doctor.check import Check

Chaos = Annotated[
    bool, typer.Option("--chaos", help="Break a Headrace of its own, and see if a job is lost.")
]


def doctor(  # noqa: PLR0913 (to typer an option is a parameter)
    *,
    url: Annotated[str | None, typer.Option(help="Ask this API as well.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Without a look at every key.")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Warnings count as errors.")] = False,
    as_json: Json = False,
    chaos: Chaos = False,
    jobs: Annotated[int, typer.Option(min=1, help="Jobs of --chaos.")] = 5000,
    kills: Annotated[int, typer.Option(min=0, help="Kills and freezes of --chaos.")] = 100,
    seed: Annotated[int | None, typer.Option(help="Repeats the --chaos of this seed.")] = None,
) -> None:
    """Look for what is wrong: settings, clocks, silent workers, books that do not agree."""
    if chaos:
        require("server", "worker")
        from headrace.cli.doctor_chaos import run

        raise typer.Exit(run(jobs=jobs, kills=kills, seed=seed, as_json=as_json))
    found = _examined(url, quick=quick)
    if as_json:
        print_json([dataclasses.asdict(check) for check in found])
    else:
        _print(found)
    bad = {"error", "warning"} if strict else {"error"}
    if any(check.level in bad for check in found):
        raise typer.Exit(FAILED)


def _examined(url: str | None, *, quick: bool) -> list[Check]:
    require("server")
    from headrace.doctor.check import DoctorSettings
    from headrace.doctor.examination import examine
    from jobs.errors import HeadraceError, QueueUnavailable
    from telemetry.settings import SettingsError

    try:
        return asyncio.run(examine(DoctorSettings.read(), url=url, quick=quick))
    except QueueUnavailable as error:
        raise ServerUnreachable(
            f"{error.detail} (start headrace up, or set HEADRACE_REDIS_URL or HEADRACE_DATA_DIR)"
        ) from error
    except (HeadraceError, SettingsError) as error:
        raise StartRefused(str(error)) from error


def _print(found: list[Check]) -> None:
    rows: list[tuple[str, str, str]] = []
    for check in found:
        rows.append((check.level, check.name, check.says))
        if check.advice:
            rows.append(("", "", f"-> {check.advice}"))
    print_table(("", "check", ""), rows)
    bad = sum(check.level == "error" for check in found)
    doubtful = sum(check.level == "warning" for check in found)
    print(f"{bad} errors, {doubtful} warnings")
