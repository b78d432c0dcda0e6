"""A FastAPI route that parses the body and does nothing: the bound of any FastAPI service."""

from __future__ import annotations

from fastapi import FastAPI

from benchmarks.peers.echo_body import Accepted, Submit

app = FastAPI()


@app.post("/jobs", status_code=202)
async def submit(body: Submit) -> Accepted:
    """Answer at once."""
    return Accepted(id="job_0", status="queued", output=body.input)
