"""Probes of the parts that block: they are served, or stop nobody where they cannot be."""

from __future__ import annotations

import socket
import threading
from types import SimpleNamespace

import httpx

from headrace.chaos.process import free_port
from webhooks import cron, pulse, rq_worker
from webhooks.part_probes import probed
from webhooks.pulse import Pulse
from webhooks.rq_connection import TIMEOUT_S
from webhooks.rq_parts import JOB_OPTIONS
from webhooks.settings import WebhookSettings

NOBODY = "redis://127.0.0.1:1/0"


def test_they_say_that_redis_is_away_and_that_the_part_is_stopping():
    port, stop = free_port(), threading.Event()
    with probed(WebhookSettings(redis_url=NOBODY, metrics_port=port), stop, Pulse()):
        assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 503
        assert httpx.get(f"http://127.0.0.1:{port}/livez").status_code == 200
        stop.set()
        assert httpx.get(f"http://127.0.0.1:{port}/livez").status_code == 503


def test_a_port_that_another_has_taken_stops_no_part():
    entered = False
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = WebhookSettings(redis_url=NOBODY, metrics_port=taken.getsockname()[1])
        with probed(settings, threading.Event(), Pulse()):
            entered = True
    assert entered


def test_a_loop_is_stale_when_it_has_not_come_round_for_too_long(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(pulse, "time", SimpleNamespace(monotonic=lambda: now))
    loops = Pulse()
    assert loops.stalled() is None
    loops.beat("one")
    loops.beat("other")
    now += pulse.STALLED_S
    assert loops.stalled() is None
    loops.beat("one")
    now += 1
    assert str(loops.stalled()).startswith("other has not gone round for 121 s")


def test_no_round_that_ends_is_taken_for_one_that_hangs():
    # RQ's worker waits for a job for 15 s less than its lifetime, and reads for 10 s more.
    waits_s = rq_worker._WORKER_TTL_S - 15 + 10
    assert 2 * max(waits_s, cron.SWEEP_S, TIMEOUT_S) <= pulse.STALLED_S
    assert JOB_OPTIONS["job_timeout"] + 4 * TIMEOUT_S <= pulse.STALLED_S
