"""What only the queue knows, read when Prometheus asks, so that no process can double it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import platform
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version

from prometheus_client.core import GaugeMetricFamily, Metric


@dataclass(frozen=True, slots=True, kw_only=True)
class QueueFigures:
    """One model's queue at one moment."""

    model: str
    queued: int
    running: int
    workers_ready: int
    oldest_s: float = 0.0
    backlog_s: float | None = None


#: Reads the figures of every model; None says that Redis did not answer.
ReadFigures = Callable[[], Sequence[QueueFigures] | None]


def from_loop(
    loop: asyncio.AbstractEventLoop,
    read: Callable[[], Awaitable[Sequence[QueueFigures] | None]],
    timeout_s: float = 3.0,
) -> ReadFigures:
    """Let a scrape, which runs in a thread, read through the event loop that owns Redis."""

    async def reading() -> Sequence[QueueFigures] | None:
        async with asyncio.timeout(timeout_s):
            return await read()

    def blocking() -> Sequence[QueueFigures] | None:
        if not loop.is_running():
            return None
        future = asyncio.run_coroutine_threadsafe(reading(), loop)
        try:
            return future.result(timeout_s + 1)
        except (TimeoutError, concurrent.futures.CancelledError):
            future.cancel()
            return None

    return blocking


class QueueCollector:
    """The gauges of the queue. Every API replica tells the same: take their max, not their sum."""

    def __init__(self, read: ReadFigures) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Read the queue once and yield its gauges; `headrace_redis_up` alone when it is away."""
        figures = self._read()
        up = GaugeMetricFamily("headrace_redis_up", "1 when Redis answered this scrape.")
        up.add_metric([], 0 if figures is None else 1)
        yield up
        if figures is not None:
            yield from _families(figures)

    def describe(self) -> Iterable[Metric]:
        """Name nothing ahead: asking the queue at registration would block the start."""
        return []


def _families(figures: Sequence[QueueFigures]) -> Iterator[Metric]:
    columns: list[tuple[str, str, Callable[[QueueFigures], float | None]]] = [
        ("jobs_queued", "Jobs waiting.", lambda of: of.queued),
        ("jobs_running", "Jobs in a batch that has begun.", lambda of: of.running),
        ("queue_oldest_seconds", "Age of the oldest job waiting.", lambda of: of.oldest_s),
        ("backlog_seconds", "Time the ready workers need for the queue.", lambda of: of.backlog_s),
        ("workers_ready", "Workers that beat and are ready.", lambda of: of.workers_ready),
    ]
    for name, doc, column in columns:
        family = GaugeMetricFamily(f"headrace_{name}", doc, labels=["model"])
        for row in figures:
            value = column(row)
            if value is not None:
                family.add_metric([row.model], value)
        yield family


class BuildInfo:
    """`headrace_build_info`: which version runs, on which Python."""

    def collect(self) -> Iterator[Metric]:
        """Yield the one constant sample."""
        labels = {"version": version("headrace"), "python": platform.python_version()}
        family = GaugeMetricFamily("headrace_build_info", "Always 1.", labels=list(labels))
        family.add_metric(list(labels.values()), 1)
        yield family
