"""`headrace jobs`."""

from __future__ import annotations

import json
from itertools import islice
from typing import Annotated, Any

import typer

from headrace.cli.options import JobId, JobIds, Json, Key, Url
from headrace.cli.printing import finish, print_job, print_json, print_table
from headrace.client.flows import ListOptions
from headrace.client.sync import Client

app = typer.Typer(help="List, read and steer jobs.", no_args_is_help=True)


@app.command("ls")
def list_jobs(  # noqa: PLR0913 (to typer an option is a parameter)
    *,
    model: Annotated[str | None, typer.Option(help="Only of this model.")] = None,
    status: Annotated[str | None, typer.Option(help="Only in this status.")] = None,
    batch: Annotated[str | None, typer.Option(help="Only of this batch.")] = None,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 50,
    url: Url = None,
    key: Key = None,
    as_json: Json = False,
) -> None:
    """List jobs, newest first."""
    options: dict[str, Any] = {"model": model, "status": status, "batch": batch}
    given: ListOptions = {  # type: ignore[assignment]
        name: value for name, value in options.items() if value is not None
    }
    given["limit"] = min(limit, 100)
    with Client(url, key) as client:
        found = list(islice(client.jobs.all(**given), limit))
    if as_json:
        print_json([job.data for job in found])
        return
    columns = ("id", "model", "status", "priority", "created")
    rows = (
        (
            job.id,
            f"{job.model}@{job.version}",
            job.status,
            job.data.get("priority"),
            job.data.get("created_at"),
        )
        for job in found
    )
    print_table(columns, rows)


@app.command()
def get(job_id: JobId, *, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Print a job."""
    with Client(url, key) as client:
        job = client.jobs.get(job_id)
    if as_json:
        print_json(job.data)
        return
    for name, value in job.data.items():
        if value is not None:
            print(f"{name}: {value if isinstance(value, str) else json.dumps(value)}")


@app.command()
def watch(job_id: JobId, *, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Tell a job's changes until it has ended, then print its output."""
    with Client(url, key) as client:
        finish(client.jobs.get(job_id), told=True, as_json=as_json)


@app.command()
def cancel(job_ids: JobIds, *, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Cancel jobs."""
    with Client(url, key) as client:
        for job_id in job_ids:
            print_job(client.jobs.cancel(job_id), as_json=as_json)


@app.command()
def retry(job_ids: JobIds, *, url: Url = None, key: Key = None, as_json: Json = False) -> None:
    """Run jobs that did not succeed again, as new jobs."""
    with Client(url, key) as client:
        for job_id in job_ids:
            print_job(client.jobs.retry(job_id), as_json=as_json)


@app.command()
def rm(job_ids: JobIds, *, url: Url = None, key: Key = None) -> None:
    """Erase jobs that have ended."""
    with Client(url, key) as client:
        for job_id in job_ids:
            client.jobs.delete(job_id)
