"""A receiver of Headrace's webhooks: it checks the signature, and keeps each event once."""

from __future__ import annotations

import os
import sqlite3

from fastapi import FastAPI, Request, Response
from standardwebhooks import Webhook, WebhookVerificationError

signed = Webhook(os.environ["WEBHOOK_SECRET"])
events = sqlite3.connect(os.environ.get("EVENTS_FILE", "events.db"), isolation_level=None)
events.execute("CREATE TABLE IF NOT EXISTS events (id TEXT PRIMARY KEY, type TEXT, body TEXT)")
app = FastAPI()


@app.post("/hook")
async def receive(request: Request) -> Response:
    """Keep an event, and say so only when it is kept."""
    # The bytes as they came: JSON that was read and written again has another signature.
    body = await request.body()
    try:
        event = signed.verify(body, dict(request.headers))
    except (WebhookVerificationError, ValueError):
        return Response(status_code=401)
    # At least once: a delivery whose answer was lost comes again, under the same id.
    row = (request.headers["webhook-id"], event["type"], body.decode())
    events.execute("INSERT OR IGNORE INTO events VALUES (?, ?, ?)", row)
    # What is to be done with it is done from the table: the sender waits 15 seconds at most.
    return Response(status_code=204)
