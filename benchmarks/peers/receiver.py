"""A receiver of webhooks that does nothing but note when each event came: `PORT` as argument."""

from __future__ import annotations

import json
import sys
import time
from datetime import datetime

import uvloop
from aiohttp import web

#: webhook-id -> (when it came, seconds since the event), both as Unix time has them.
seen: dict[str, tuple[float, float]] = {}
calls = 0


async def take(request: web.Request) -> web.Response:
    """Note an event; a POST without an id is counted alone."""
    global calls  # noqa: PLW0603 - one counter for the process
    body = await request.read()
    calls += 1
    now = time.time()
    identifier = request.headers.get("webhook-id")
    if identifier is not None:
        ended = datetime.fromisoformat(json.loads(body)["timestamp"]).timestamp()
        seen.setdefault(identifier, (now, now - ended))
    return web.Response()


async def told(_: web.Request) -> web.Response:
    """Return what was noted, and forget it."""
    global calls  # noqa: PLW0603
    figures = {"events": list(seen.values()), "calls": calls}
    if _.query.get("clear"):
        seen.clear()
        calls = 0
    return web.json_response(figures)


def main() -> None:
    """Listen until told to stop."""
    app = web.Application()
    app.router.add_post("/hook", take)
    app.router.add_get("/told", told)
    uvloop.install()
    web.run_app(app, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None)


if __name__ == "__main__":
    main()
