"""The process of retries: RQ's worker, and its scheduler beside it in a thread."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, Self

from rq import SimpleWorker
from rq.exceptions import StopRequested
from rq.scheduler import RQScheduler
from rq.serializers import JSONSerializer

from telemetry import logs
from webhooks.pulse import Pulse
from webhooks.rq_connection import AWAY, rq_connection
from webhooks.rq_parts import AllowedJob, AllowedQueue, queue_name, queue_on

#: How often retries are looked for whose time has come, and how often the lock is taken or kept.
_TICK_S, _LOCK_S = 0.25, 5.0
#: A worker silent for longer is forgotten by RQ. Its reads give up sooner than that, so that a
#: Redis that froze is noticed.
_WORKER_TTL_S = 45
_MAINTENANCE_S = 30
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.5, 10.0
#: The loops of this process, by name.
WORKER, SCHEDULER = "retries", "rq-scheduler"

log = logs.get("webhooks.rq_worker")


class RetryWorker(SimpleWorker):
    """Runs jobs in this process, and says when it was told to stop."""

    queue_class = AllowedQueue
    job_class = AllowedJob
    log_result_lifespan = False
    log_job_description = False
    max_connection_wait_time = 5.0
    on_stop: Callable[[], object] = staticmethod(lambda: None)
    pulse = Pulse()

    def heartbeat(self, *given: Any, **named: Any) -> None:
        """Done by RQ before it waits for a job, before it runs one, and after."""
        self.pulse.beat(WORKER)
        super().heartbeat(*given, **named)

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """Take the signal: after the job in hand, nothing more."""
        self.on_stop()
        super().request_stop(signum, frame)

    def subscribe(self) -> None:
        """Take no commands: whoever can write to Redis could end this process with one."""


class _OnConnection(RQScheduler):
    """RQ's scheduler on a connection that it is given: its own rebuilds one for a fork."""

    given: Any = None

    @property
    def connection(self) -> Any:
        """The connection."""
        return self.given


class SchedulerThread:
    """Moves jobs to the queue when their time has come, while entered.

    In a thread and not in RQ's process of its own: nothing can outlive this process, and the lock
    of one that was killed is taken over as soon as it runs out, in a minute.
    """

    def __init__(self, url: str, namespace: str, pulse: Pulse) -> None:
        connection = rq_connection(url)
        self._scheduler = _OnConnection(
            [queue_name(namespace)],
            connection=connection,
            logging_level="WARNING",
            serializer=JSONSerializer,
        )
        self._scheduler.given = connection
        self._pulse = pulse
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, name="rq-scheduler", daemon=True)
        self._lock_at = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        away = False
        while not self._stop.wait(_TICK_S):
            self._pulse.beat(SCHEDULER)
            try:
                self._tick()
                away = False
            except AWAY as error:
                if not away:
                    log.warning("rq_redis_away", error=str(error))
                away = True
            except Exception:  # the top of the thread: without it no retry would come in time
                log.exception("rq_scheduler_failed")
                self._stop.wait(_LOCK_S)
        try:
            self._scheduler.stop()
        except AWAY as error:
            log.warning("rq_lock_left", error=str(error))

    def _tick(self) -> None:
        now = time.monotonic()
        if now >= self._lock_at:
            if not self._scheduler.acquired_locks:
                self._scheduler.register_birth()
                self._scheduler.acquire_locks()
            else:
                self._scheduler.heartbeat()
            self._lock_at = now + _LOCK_S
        if self._scheduler.acquired_locks:
            self._scheduler.enqueue_scheduled_jobs()


def work(url: str, namespace: str, stop: threading.Event, pulse: Pulse) -> None:
    """Run jobs until told to stop, over whatever RQ's Redis does meanwhile."""
    pause_s = _FIRST_PAUSE_S
    # RQ leaves its handlers behind, which raise wherever this process is.
    with SchedulerThread(url, namespace, pulse), contextlib.suppress(StopRequested):
        while not stop.is_set():
            pulse.beat(WORKER)
            began = time.monotonic()
            try:
                _work_once(url, namespace, stop, pulse)
            except AWAY as error:
                log.warning("rq_redis_away", error=str(error))
            if time.monotonic() - began > _LONGEST_PAUSE_S:
                pause_s = _FIRST_PAUSE_S
            stop.wait(pause_s)
            pause_s = min(pause_s * 2, _LONGEST_PAUSE_S)


def _work_once(url: str, namespace: str, stop: threading.Event, pulse: Pulse) -> None:
    connection = rq_connection(url)
    try:
        worker = RetryWorker(
            [queue_on(connection, namespace)],
            connection=connection,
            serializer=JSONSerializer,
            worker_ttl=_WORKER_TTL_S,
            maintenance_interval=_MAINTENANCE_S,
            log_job_description=False,
        )
        worker.on_stop = stop.set
        worker.pulse = pulse
        worker.work(logging_level="WARNING")
    finally:
        connection.close()
