"""Whether a submit is let in: there must be room for its result, and time before its deadline."""

from __future__ import annotations

from collections.abc import Sequence

from api.load import LoadWatch
from api.problems import DeadlineUnreachable
from jobs.connection import RedisConnections
from jobs.errors import HeadraceError, QueueFull
from jobs.job import NewJob
from jobs.queue import JobQueue
from jobs.states import Priority

#: Above this share of `maxmemory` submits wait outside, so that accepted jobs can always end.
MEMORY_LIMIT = 0.7

#: The longest that a caller is told to stay away because of a full queue.
_LONGEST_RETRY_S = 300.0


class Admission:
    """Judges submits by figures that a background task keeps fresh; no request waits for it."""

    def __init__(self, connections: RedisConnections, queue: JobQueue, loads: LoadWatch) -> None:
        self._connections = connections
        self._queue = queue
        self._loads = loads
        self._memory: float | None = None

    async def refresh(self) -> None:
        """Read how full Redis is; raises QueueUnavailable."""
        self._memory = await self._connections.memory_used_ratio()

    @property
    def has_room(self) -> bool:
        """Whether Redis has memory for another job and its result."""
        return self._memory is None or self._memory <= MEMORY_LIMIT

    async def admit(self, job: NewJob, key: str | None, shards: Sequence[int]) -> None:
        """Let a job in, or raise QueueFull or DeadlineUnreachable.

        A repeat of a request that was let in before is no new job, so it passes.
        """
        refusal = self._refusal(job)
        if refusal is None:
            return
        if key is None or not await self._queue.has_key(job.tenant, job.model, key, shards):
            raise refusal

    def say_when(self, full: QueueFull, model: str) -> None:
        """Let what the queue refused a submit with tell when to come back."""
        full.retry_after_s = full.retry_after_s or self._retry_after(model)

    def _refusal(self, job: NewJob) -> HeadraceError | None:
        if not self.has_room:
            used = round((self._memory or 0) * 100)
            return QueueFull(
                f"Redis uses {used} % of its memory; jobs are taken up to "
                f"{round(MEMORY_LIMIT * 100)} %, so that accepted ones can end.",
                retry_after_s=self._retry_after(job.model),
            )
        # One of high priority overtakes most of the backlog: how much of it is not known here.
        if job.deadline_s is None or job.priority is Priority.HIGH:
            return None
        load = self._loads.known(job.model)
        if load is None or load.seconds_per_job is None or load.ready == 0:
            return None
        if load.backlog_seconds <= job.deadline_s:
            return None
        return DeadlineUnreachable(
            f"The backlog of {job.model!r} is about {load.backlog_seconds:.1f} s, longer than the "
            f"deadline of {job.deadline_s:g} s. Ask for a later deadline_s, or a higher priority."
        )

    def _retry_after(self, model: str) -> float:
        load = self._loads.known(model)
        return min(_LONGEST_RETRY_S, max(1.0, load.backlog_seconds if load else 1.0))
