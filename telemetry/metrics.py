"""Every metric of ours by name, and the registry that holds one process's share of them.

Several processes count into one directory when PROMETHEUS_MULTIPROC_DIR names it before this module
is first imported; `telemetry.exposition` adds them up again.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

#: Seconds, from an idle system's answer to a job that waited hours.
LATENCY_BUCKETS = (
    *(0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5),
    *(1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0, 1800.0, 7200.0),
)
BATCH_BUCKETS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512)


class Metrics:
    """The metrics that processes count themselves; what Redis knows comes from QueueCollector."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._counter = functools.partial(Counter, namespace="headrace", registry=registry)
        self._gauge = functools.partial(
            Gauge, namespace="headrace", registry=registry, multiprocess_mode="livemostrecent"
        )
        self._histogram = functools.partial(Histogram, namespace="headrace", registry=registry)
        self._latency = functools.partial(self._histogram, buckets=LATENCY_BUCKETS)
        self._of_jobs()
        self._of_batches()
        self._of_the_engine()
        self._of_http()
        self._of_webhooks()

    def _of_jobs(self) -> None:
        self.jobs_submitted = self._counter(
            "jobs_submitted_total", "Jobs accepted.", ["model", "priority"]
        )
        self.jobs_finished = self._counter(
            "jobs_finished_total",
            "Jobs that reached a final state; code is empty where none applies.",
            ["model", "version", "status", "code"],
        )
        self.end_to_end_seconds = self._latency(
            "end_to_end_seconds", "From accepted to the final state.", ["model"]
        )
        self.requeues = self._counter(
            "requeues_total", "Jobs that went back to the queue unfinished.", ["reason"]
        )
        self.stale_writes_refused = self._counter(
            "stale_writes_refused_total", "Writes refused since the job had passed to another."
        )

    def _of_batches(self) -> None:
        self.queue_seconds = self._latency(
            "queue_seconds", "From accepted to the start of the batch that ran it.", ["model"]
        )
        self.run_seconds = self._latency("run_seconds", "Time of a batch on the device.", ["model"])
        self.batch_size = self._histogram(
            "batch_size", "Jobs in a batch.", ["model"], buckets=BATCH_BUCKETS
        )

    def _of_the_engine(self) -> None:
        self.engine_restarts = self._counter(
            "engine_restarts_total", "Engines started anew.", ["reason"]
        )
        self.oom = self._counter(
            "oom_total", "Batches that did not fit the device's memory.", ["model"]
        )
        self.weights_bytes = self._gauge(
            "weights_bytes", "Memory of the loaded weights.", ["model"]
        )
        self.gpu_memory_bytes = self._gauge(
            "gpu_memory_bytes", "Device memory by kind: allocated, reserved.", ["model", "kind"]
        )
        self.gpu_busy_ratio = self._gauge(
            "gpu_busy_ratio", "Share of the last minute in which a batch ran.", ["model"]
        )

    def _of_http(self) -> None:
        self.http_requests = self._counter(
            "http_requests_total", "HTTP requests answered.", ["method", "route", "status"]
        )
        self.http_errors = self._counter(
            "http_errors_total", "HTTP requests refused or failed, by error code.", ["code"]
        )
        self.http_request_seconds = self._latency(
            "http_request_seconds", "Time to answer a request, held waits included.", ["route"]
        )

    def _of_webhooks(self) -> None:
        self.webhook_deliveries = self._counter(
            "webhook_deliveries_total",
            "Tries at deliveries by what they meant: delivered, retry, failed, dropped, gone.",
            ["outcome"],
        )

    def error_counter(self, codes: Iterable[str]) -> Callable[[str], None]:
        """Return what counts an error by its code; those known ahead begin at 0."""
        for code in codes:
            self.http_errors.labels(code)
        return lambda code: self.http_errors.labels(code).inc()

    @functools.cached_property
    def request_observer(self) -> Callable[..., None]:
        """The hot path's `(method, route, status, seconds[, exemplar])`; labels are found once."""
        requests = functools.cache(self.http_requests.labels)
        durations = functools.cache(self.http_request_seconds.labels)

        def observe(
            method: str,
            route: str,
            status: int,
            seconds: float,
            exemplar: dict[str, str] | None = None,
        ) -> None:
            requests(method, route, status).inc()
            durations(route).observe(seconds, exemplar)

        return observe
