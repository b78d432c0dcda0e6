"""A loop of RQ that hangs for ever takes its process's liveness with it."""

from __future__ import annotations

import signal
import sys
import time
from contextlib import ExitStack
from pathlib import Path

import httpx
import pytest

from headrace.chaos.process import free_port, until

from .receiver import Process

FREEZING = Path(__file__).with_name("freezing.py")
STALLED_S = 8.0
#: part, what freezes one of its loops, and which
LOOPS = [
    ("retries", signal.SIGUSR1, "retries"),
    ("retries", signal.SIGUSR2, "rq-scheduler"),
    ("cron", signal.SIGUSR1, "cron"),
]


class Frozen(Process):
    """A part that can be frozen."""

    def __init__(self, part: str, url: str, freeze: signal.Signals) -> None:
        self.port = free_port()
        # To itself: of several schedulers on one queue only the one with the lock has work.
        super().__init__(part, url, metrics_port=self.port, namespace=f"frozen{self.port}")
        self.command = [sys.executable, "-P", str(FREEZING), part, str(STALLED_S)]
        self._freeze = freeze

    def freeze(self) -> None:
        """Freeze its loop for good."""
        assert self.process is not None
        self.process.send_signal(self._freeze)

    def asked(self, path: str) -> tuple[int, str]:
        """What a kubelet is told; 0 where nobody answers."""
        try:
            answer = httpx.get(f"http://127.0.0.1:{self.port}{path}", trust_env=False, timeout=5)
        except httpx.TransportError as error:
            return 0, repr(error)
        return answer.status_code, answer.text

    def lives(self) -> bool:
        """Whether a kubelet would leave it alone."""
        return self.asked("/livez")[0] == 200


@pytest.mark.timeout(120)
def test_a_loop_that_hangs_is_not_alive_though_its_process_answers(redis_url: str) -> None:
    with ExitStack() as stack:
        parts = [stack.enter_context(Frozen(part, redis_url, how)) for part, how, _ in LOOPS]
        for part in parts:
            until(part.lives, 30, "it has started")
            until(lambda part=part: part.asked("/healthz")[0] == 200, 30, "it works")
        # While they go round, time alone makes none of them stale.
        end = time.monotonic() + 1.5 * STALLED_S
        while time.monotonic() < end:
            assert [part.asked("/livez") for part in parts if not part.lives()] == []
            time.sleep(0.2)
        for part in parts:
            part.freeze()
        for part, (_, _, loop) in zip(parts, LOOPS, strict=True):
            until(
                lambda part=part: part.asked("/livez")[0] == 503,
                STALLED_S + 20,
                f"{loop} is seen to hang",
            )
            code, said = part.asked("/livez")
            assert (code, f"{loop} has not gone round" in said) == (503, True), said
            assert part.asked("/healthz")[0] == 200
