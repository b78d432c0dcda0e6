"""The cron: RQ's scheduler of what recurs. Lost retries are found again, and house is kept."""

from __future__ import annotations

import contextlib
import threading
import time
from typing import Any

from rq.cron import CronJob, CronScheduler
from rq.exceptions import SchedulerNotFound, StopRequested
from rq.job import Job

from telemetry import logs
from webhooks.pulse import Pulse
from webhooks.retries import housekeep, sweep
from webhooks.rq_connection import AWAY, DUPLICATE, rq_connection
from webhooks.rq_parts import JOB_OPTIONS, job_id, queue_name, queue_on

#: How often retries that RQ has lost are looked for.
SWEEP_S = 30
#: How often what is due is done on shards where no model lives any more, and nobody else looks.
HOUSEKEEP_S = 600
#: Its loop, by name.
CRON = "cron"
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0

log = logs.get("webhooks.cron")


class OncePerTurn(CronJob):
    """Enqueues itself as JSON (RQ's own would pickle), once a turn however many crons run."""

    namespace = ""

    def enqueue(self, connection: Any) -> Job | None:  # type: ignore[override]
        """Enqueue it; None where another cron was first."""
        turn = int(time.time() // (self.interval or 1))
        name = self.func_name.rpartition(".")[2]
        try:
            return queue_on(connection, self.namespace).enqueue_call(
                self.func_name,
                job_id=job_id(queue_name(self.namespace), f"{name}-{turn}"),
                unique=True,
                # Nobody takes it: then the next one is as good.
                ttl=2 * (self.interval or 1),
                timeout=JOB_OPTIONS["job_timeout"],
                result_ttl=JOB_OPTIONS["result_ttl"],
                failure_ttl=JOB_OPTIONS["failure_ttl"],
            )
        except DUPLICATE:
            return None


class Cron(CronScheduler):
    """RQ's, which ends in order although its entry in Redis is gone, and says that it lives."""

    pulse = Pulse()

    def heartbeat(self) -> None:
        """Done by RQ each time round."""
        self.pulse.beat(CRON)
        super().heartbeat()

    def register_death(self, pipeline: Any = None) -> None:
        """Take it out of RQ's registry."""
        with contextlib.suppress(SchedulerNotFound):
            super().register_death(pipeline)


def run_cron(url: str, namespace: str, stop: threading.Event, pulse: Pulse) -> None:
    """Enqueue what recurs until told to stop, over whatever RQ's Redis does meanwhile."""
    pause_s = _FIRST_PAUSE_S
    # RQ leaves its handlers behind, which raise wherever this process is.
    with contextlib.suppress(StopRequested):
        while not stop.is_set():
            pulse.beat(CRON)
            began = time.monotonic()
            connection = rq_connection(url)
            try:
                # Returns when it is told to stop.
                _scheduler(connection, namespace, pulse).start()
                stop.set()
            except AWAY as error:
                log.warning("rq_redis_away", error=str(error))
            finally:
                connection.close()
            if time.monotonic() - began > _LONGEST_PAUSE_S:
                pause_s = _FIRST_PAUSE_S
            stop.wait(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


def _scheduler(connection: Any, namespace: str, pulse: Pulse) -> Cron:
    scheduler = Cron(connection, logging_level="WARNING")
    scheduler.pulse = pulse
    for func, interval_s in ((sweep, SWEEP_S), (housekeep, HOUSEKEEP_S)):
        job = OncePerTurn(queue_name(namespace), func=func, interval=interval_s)
        job.namespace = namespace
        scheduler.get_jobs().append(job)
    return scheduler
