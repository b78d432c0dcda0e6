"""Runs one part of webhooks whose loops freeze when a signal says so, and go round often before."""

from __future__ import annotations

import signal
import sys
import time

from rq.scheduler import RQScheduler

from webhooks import cron, pulse, rq_worker
from webhooks.main import main

_LONG_S = 3600.0


def freeze_main(*_: object) -> None:
    """Hang where RQ's worker, or its cron, happens to be."""
    time.sleep(_LONG_S)


def freeze_scheduler(*_: object) -> None:
    """Hang in what RQ's scheduler does next."""
    RQScheduler.enqueue_scheduled_jobs = lambda *_: time.sleep(_LONG_S)  # type: ignore[method-assign]


if __name__ == "__main__":
    signal.signal(signal.SIGUSR1, freeze_main)
    signal.signal(signal.SIGUSR2, freeze_scheduler)
    pulse.STALLED_S = float(sys.argv[2])
    # RQ waits for a job for 15 s less.
    rq_worker._WORKER_TTL_S = 16
    cron.SWEEP_S = 1
    sys.exit(main(["--only", sys.argv[1]]))
