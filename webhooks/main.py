"""The processes of webhooks: the sender, the retries and the cron, or all three kept alive."""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import threading
from collections.abc import Sequence

import uvloop

from jobs.errors import HeadraceError, QueueUnavailable, WrongRedis
from telemetry import logs, traces
from telemetry.settings import SettingsError
from webhooks.cron import run_cron
from webhooks.part_probes import probed
from webhooks.parts import PARTS, end_with, run_parts
from webhooks.pulse import Pulse
from webhooks.retries import Releaser
from webhooks.rq_connection import rq_connection
from webhooks.rq_worker import WORKER, work
from webhooks.service import serve
from webhooks.settings import WebhookSettings

EXIT_DONE, EXIT_FAILED, EXIT_USAGE = 0, 1, 2
_PAUSE_S = 1.0

log = logs.get("webhooks.main")


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one part, or all, until told to stop; the exit code."""
    parser = argparse.ArgumentParser(prog="headrace webhooks run", description="Send webhooks.")
    parser.add_argument("--only", choices=PARTS, help="run this part alone")
    parser.add_argument("--child-of", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child_of is not None:
        end_with(given.child_of)
    try:
        settings = WebhookSettings.read()
        traces.check()
        rq_connection(settings.rq_url).close()
    except (SettingsError, traces.TracingRefused, WrongRedis) as error:
        return _refuse(error)
    name = "webhooks" if given.only is None else f"webhooks-{given.only}"
    logs.configure(settings.log_format, process=name, level=settings.log_level)
    try:
        return _run(given.only, settings)
    except (WrongRedis, traces.TracingRefused) as error:
        return _refuse(error)
    except Exception:  # the top of the process: whatever it was, it is one event of the log
        log.exception("webhooks_failed", part=given.only)
        return EXIT_FAILED


def _run(only: str | None, settings: WebhookSettings) -> int:
    if only is None:
        return asyncio.run(run_parts(settings.drain_s, settings.metrics_port))
    if only == "sender":
        with (
            traces.opened("webhooks") as tracing,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            runner.run(serve(settings, tracing))
        return EXIT_DONE
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    pulse = Pulse()
    if only == "cron":
        with probed(settings, stop, pulse):
            run_cron(settings.rq_url, settings.namespace, stop, pulse)
    else:
        _retry(settings, stop, pulse)
    return EXIT_DONE


def _retry(settings: WebhookSettings, stop: threading.Event, pulse: Pulse) -> None:
    with Releaser(settings) as releaser, probed(settings, stop, pulse, releaser.verify):
        while not stop.is_set():
            pulse.beat(WORKER)
            try:
                releaser.verify()
                break
            except QueueUnavailable as error:
                log.warning("redis_away", error=error.detail)
                stop.wait(_PAUSE_S)
        work(settings.rq_url, settings.namespace, stop, pulse)


def _refuse(error: Exception) -> int:
    said = error.detail if isinstance(error, HeadraceError) else str(error)
    sys.stderr.write(f"{said}\n")
    return EXIT_USAGE
