"""A collector of traces that takes connections and says nothing."""

from __future__ import annotations

import signal
import socket
import time
from pathlib import Path
from statistics import median

import pytest

from headrace.chaos.stack import Stack, until
from telemetry.traces import CLOSE_S

from .folders import EXAMPLES
from .traced import Hook, lines


def test_a_collector_that_hangs_neither_slows_nor_fails_anything(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as silent,
        Hook(tmp_path / "book.jsonl") as hook,
        Stack(webhook_allow="127.0.0.0/8") as stack,
    ):
        plain = stack.api()
        endpoint = f"http://127.0.0.1:{silent.getsockname()[1]}"
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "50")
        traced = stack.api()
        worker, sender = stack.worker(EXAMPLES / "echo"), stack.webhooks("sender")
        traced.ready("echo")
        taken: dict[str, list[float]] = {plain.url: [], traced.url: []}
        for _ in range(25):
            for api in (plain, traced):
                began = time.monotonic()
                job = api.submit("echo", {"message": 1}, webhook=hook.webhook())["id"]
                taken[api.url].append(time.monotonic() - began)
        assert traced.finished(job)["status"] == "succeeded"
        until(lambda: len(hook.told) == 50, 30, "every webhook")
        # A submit that waited for the collector would take seconds.
        assert median(taken[traced.url]) < 3 * median(taken[plain.url]) + 0.01
        processes = (traced.process, worker, sender)
        for process in processes:
            process.signal(signal.SIGTERM)
        until(lambda: not any(process.running for process in processes), 30, "all have ended")
        assert [process.exit_code for process in processes] == [0, 0, 0]
        for process in processes:
            [waited] = [each for each in lines(process) if each["event"] == "traces_left_unsent"]
            assert waited["waited_s"] < CLOSE_S + 1
