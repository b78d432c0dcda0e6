"""A whole Headrace that traces, and a receiver of webhooks that keeps what it was told."""

from __future__ import annotations

import json
import secrets
import socket
from pathlib import Path
from typing import Any

from headrace.chaos.process import free_port
from headrace.chaos.receiver import Receiver
from headrace.chaos.stack import Process, Stack
from tests.otlp import Collector, Seen

from .folders import MODELS

#: Redis's clock tells milliseconds, the spans of this machine nanoseconds.
TICK_S = 0.0015
OF_A_JOB = ("POST /v1/models/{model}/jobs", "queue", "predict", "settle")


class Hook(Receiver):
    """Keeps the headers of each call, and answers the first calls of a job as it is told."""

    def __init__(self, book: Path) -> None:
        super().__init__(book)
        self.parents: dict[str, list[str]] = {}
        self.refusals = 0

    def take(self, headers: dict[str, str], body: bytes) -> str:
        of = json.loads(body)["data"]["id"]
        self.parents.setdefault(of, []).append(headers.get("traceparent", ""))
        if self.refusals:
            self.refusals -= 1
            return "error"
        return super().take(headers, body)


class Traced:
    """A whole Headrace that traces, where its traces go, and a receiver of webhooks."""

    def __init__(self, stack: Stack, collector: Collector, hook: Hook) -> None:
        self.stack, self.collector, self.hook = stack, collector, hook
        self.metrics_port, self.worker_port = free_port(), free_port()
        self.webhooks_port = three_free_ports()
        self.api = stack.api(metrics_port=str(self.metrics_port), drain_s="5")
        self.worker: Process = stack.worker(
            MODELS / "traced", worker_port=str(self.worker_port), worker_name="w1"
        )
        self.webhooks = stack.webhooks(metrics_port=str(self.webhooks_port))
        self.api.ready("traced")

    def submit(self, given: Any, flags: str = "01", **options: Any) -> tuple[str, str, str]:
        """Submit in a trace of the caller: the trace, the caller's span and the job."""
        trace, span = secrets.token_hex(16), secrets.token_hex(8)
        parent = {"traceparent": f"00-{trace}-{span}-{flags}"}
        answer = self.api.post("traced", given, headers=parent, **options)
        assert answer.status_code == 202, answer.text
        assert answer.headers["traceparent"].split("-")[1] == trace
        return trace, span, answer.json()["id"]


def three_free_ports() -> int:
    def free(port: int) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    while True:
        first = free_port()
        if first < 65000 and all(free(first + place) for place in (1, 2)):
            return first


def by_name(spans: list[Seen], name: str) -> list[Seen]:
    return [each for each in spans if each.name == name]


def lines(process: Process) -> list[dict[str, Any]]:
    return [json.loads(line) for line in process.said().splitlines() if line.startswith("{")]
