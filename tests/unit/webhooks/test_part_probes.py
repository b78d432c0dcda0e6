"""Probes of the parts that block: they are served, or stop nobody where they cannot be."""

from __future__ import annotations

import socket
import threading

import httpx

from headrace.chaos.process import free_port
from webhooks.part_probes import probed
from webhooks.settings import WebhookSettings

NOBODY = "redis://127.0.0.1:1/0"


def test_they_say_that_redis_is_away_and_that_the_part_is_stopping():
    port, stop = free_port(), threading.Event()
    with probed(WebhookSettings(redis_url=NOBODY, metrics_port=port), stop):
        assert httpx.get(f"http://127.0.0.1:{port}/healthz").status_code == 503
        assert httpx.get(f"http://127.0.0.1:{port}/livez").status_code == 200
        stop.set()
        assert httpx.get(f"http://127.0.0.1:{port}/livez").status_code == 503


def test_a_port_that_another_has_taken_stops_no_part():
    entered = False
    with socket.create_server(("127.0.0.1", 0)) as taken:
        settings = WebhookSettings(redis_url=NOBODY, metrics_port=taken.getsockname()[1])
        with probed(settings, threading.Event()):
            entered = True
    assert entered
