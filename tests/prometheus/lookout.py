"""A real Prometheus over several installations, and the book of what fired when, and why."""

from __future__ import annotations

import json
import re
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from headrace.chaos.stack import Stack, until

from .files import ROOT, RULES
from .live import Scrapes, prometheus
from .scaled import FACTOR, scaled
from .tools import Tools

#: Seconds that an alert may take on a slow machine: to fire, and to resolve; and all of them.
FIRES_S, RESOLVES_S, ALL_S = 100.0, 120.0, 330.0
JOBS = ("api", "worker", "webhooks")
#: Its default at our pace: what was not seen for so long is not there.
_LOOKBACK_S = 300 / FACTOR

Labels = dict[str, str]


def companions(alert: str) -> set[str]:
    """Return the alerts that docs/alerts.md says may come with this one."""
    page = (ROOT / "docs" / "alerts.md").read_text()
    found = re.search(rf"^## {alert}\n.*?(?=^## |\Z)", page, re.MULTILINE | re.DOTALL)
    assert found is not None, alert
    said = re.search(r"^- \*\*With it\*\*.*$", found[0], re.MULTILINE)
    return set(re.findall(r"\[(Headrace\w+)\]", said[0])) if said else set()


@dataclass
class Fault:
    """One thing that was broken and mended, and the alert that has to tell of it."""

    alert: str
    #: What the alert must say of where; what it does not say at all is not looked at.
    where: Labels
    #: Unix times; 0 says that it never came to that.
    began: float = 0.0
    fired: float = 0.0
    mended: float = 0.0
    resolved: float = 0.0
    error: str = ""

    def explains(self, alert: str, labels: Labels, at: float) -> bool:
        """Whether that this alert fires then is due to this fault."""
        named = alert == self.alert or alert in companions(self.alert)
        return named and self.is_where(labels) and self.began <= at <= (self.resolved or at)

    def is_where(self, labels: Labels) -> bool:
        """Whether labels contradict nothing of where it is."""
        return all(labels.get(name, value) == value for name, value in self.where.items())


@dataclass
class Lookout:
    """Prometheus, asked over its HTTP API, and the targets that it is told of."""

    scrapes: Scrapes
    folder: Path
    faults: list[Fault] = field(default_factory=list)
    _targets: dict[str, dict[int, str]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)
    _ends_at: float = field(default_factory=lambda: time.monotonic() + ALL_S)
    _read_at: float = 0.0
    _alerts: list[dict[str, Any]] = field(default_factory=list)

    def scrape(self, job: str, namespace: str, port: int) -> None:
        """Find one process more, as Prometheus finds a pod, and wait for its first figures."""
        with self._lock:
            self._targets.setdefault(job, {})[port] = namespace
            self._write(job)
        seen = f'up{{instance="127.0.0.1:{port}"}} == 1'
        until(lambda: self.scrapes.query(seen), 60, seen)

    def forget(self, namespace: str, port: int | None = None) -> None:
        """Find one process, or all of a namespace, no longer."""
        with self._lock:
            for job, known in self._targets.items():
                gone = [each for each in known if known[each] == namespace and port in (None, each)]
                for each in gone:
                    del known[each]
                self._write(job)
        which = f'namespace="{namespace}"' + (f', instance="127.0.0.1:{port}"' if port else "")
        until(lambda: not self.scrapes.query(f"up{{{which}}}"), 60, f"{which} is forgotten")

    def _write(self, job: str) -> None:
        found = [
            {"targets": [f"127.0.0.1:{port}"], "labels": {"namespace": namespace}}
            for port, namespace in self._targets[job].items()
        ]
        # In one step: it may be read at any moment.
        new = self.folder / f"{job}.new"
        new.write_text(json.dumps(found))
        new.replace(self.folder / f"{job}.json")

    def is_in(self, state: str, name: str, where: Labels) -> bool:
        """Whether an alert is pending there, or fires, as /api/v1/alerts says."""
        return any(
            each["state"] == state
            and each["labels"]["alertname"] == name
            and where.items() <= each["labels"].items()
            for each in self._now()
        )

    def _now(self) -> list[dict[str, Any]]:
        with self._lock:
            # Several faults ask at once; it evaluates once a second.
            if time.monotonic() - self._read_at > 0.2:
                self._alerts = self.scrapes.ask("alerts")["alerts"]
                self._read_at = time.monotonic()
            return self._alerts

    @contextmanager
    def tells(self, alert: str, **where: str) -> Iterator[Callable[[], None]]:
        """Around a fault: call what this yields once it is there, and mend it before the end.

        The call waits until the alert fires; after the end it has to resolve. What goes wrong is
        kept for the test of this alert, since other faults are to come.
        """
        fault = Fault(alert, where, began=time.time())
        if self.is_in("firing", alert, where):
            fault.error = "it fires before there is a cause"
        self.faults.append(fault)

        def fires() -> None:
            there = partial(self.is_in, "firing", alert, where)
            until(there, self._within(FIRES_S), f"{alert} fires")
            fault.fired = time.time()

        try:
            yield fires
            fault.mended = time.time()
            for each in (alert, *companions(alert)):
                # Nor pending: it would fire when the next fault is there, and not for it.
                quiet = partial(self._quiet, each, where)
                until(quiet, self._within(RESOLVES_S), f"{each} resolves")
            fault.resolved = time.time()
        except (AssertionError, OSError, httpx.HTTPError):
            fault.error = traceback.format_exc()

    def mended(self, alert: str) -> bool:
        """Whether the cause of an alert was there and is over; it may still fire."""
        return any(each.alert == alert and (each.mended or each.error) for each in self.faults)

    def _within(self, seconds: float) -> float:
        # Where many fail, the last of them are not waited for as long.
        return max(0.0, min(seconds, self._ends_at - time.monotonic()))

    def _quiet(self, alert: str, where: Labels) -> bool:
        return not any(self.is_in(state, alert, where) for state in ("pending", "firing"))

    def history(self, state: str) -> list[tuple[str, Labels, list[float]]]:
        """Return each alert that was in a state: its name, its labels, and when (Unix times)."""
        found = self.scrapes.ask("query", query=f'ALERTS{{alertstate="{state}"}}[1h]')["result"]
        return [
            (each["metric"]["alertname"], each["metric"], [float(at) for at, _ in each["values"]])
            for each in found
        ]

    def unexplained(self) -> dict[str, tuple[Labels, float]]:
        """Return each alert that fired when nothing was broken which it tells of."""
        return {
            name: (labels, at)
            for name, labels, times in self.history("firing")
            for at in times
            if not any(fault.explains(name, labels, at) for fault in self.faults)
        }


def looking(tools: Tools, stack: Stack, folder: Path) -> Lookout:
    """Start a Prometheus with the chart's rules at our pace; it knows of no target yet."""
    rules = folder / "alerts.yaml"
    rules.write_text(scaled(RULES.read_text()))
    scraped = [
        {"job_name": job, "file_sd_configs": [{"files": [str(folder / f"{job}.json")]}]}
        for job in JOBS
    ]
    back = f"--query.lookback-delta={_LOOKBACK_S:g}s"
    return Lookout(prometheus(tools, stack, folder, rules, scraped, back), folder)
