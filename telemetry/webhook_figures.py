"""How much is to be told, as Prometheus reads it from the sender."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from prometheus_client.core import GaugeMetricFamily, Metric


class PendingCollector:
    """`headrace_webhook_pending`. Every sender tells the same: take their max, not their sum."""

    def __init__(self, read: Callable[[], float]) -> None:
        self._read = read

    def collect(self) -> Iterator[Metric]:
        """Yield the one sample."""
        doc = "Events and deliveries that wait, as the sender last counted them."
        family = GaugeMetricFamily("headrace_webhook_pending", doc)
        family.add_metric([], self._read())
        yield family

    def describe(self) -> Iterable[Metric]:
        """Name nothing ahead: it is read at a scrape."""
        return []
