"""The three parts as processes of their own: what ends is started again."""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
import time
from collections.abc import Sequence

from telemetry import logs

#: In the order in which they are told to end: nothing new is sent before the others go.
PARTS = ("sender", "retries", "cron")

_PR_SET_PDEATHSIG = 1
_FIRST_PAUSE_S, _LONGEST_PAUSE_S = 0.2, 30.0
#: A part that lived this long did not fail to start: the next pause is short again.
_QUIET_S = 60.0
#: What a part gets beyond its drain before it is killed.
_GRACE_S = 5.0
_REFUSED = 2
_LAST_PORT = 65_535

log = logs.get("webhooks.parts")


class Part:
    """One part and its process of the moment."""

    def __init__(self, name: str, metrics_port: int | None = None) -> None:
        self.name = name
        self._metrics_port = metrics_port
        self._process: asyncio.subprocess.Process | None = None
        self._stopping = asyncio.Event()

    async def keep(self) -> int:
        """Run it, and again whenever it ends, until told to quit; its last exit code.

        One that refuses its settings is not started again: they will not change.
        """
        pause_s = 0.0
        while True:
            began = time.monotonic()
            self._process = await _spawn(self.name, self._metrics_port)
            if self._stopping.is_set():
                self._signal(signal.SIGTERM)
            code = await self._process.wait()
            if self._stopping.is_set() or code == _REFUSED:
                return code
            if time.monotonic() - began >= _QUIET_S:
                pause_s = 0.0
            pause_s = min(max(pause_s * 2, _FIRST_PAUSE_S), _LONGEST_PAUSE_S)
            log.error("part_ended", part=self.name, code=code, again_in_s=pause_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._stopping.wait()
            if self._stopping.is_set():
                return 0

    def quit(self) -> None:
        """Ask it to finish what it does and end."""
        self._stopping.set()
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it at once."""
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                self._process.send_signal(number)


async def run_parts(drain_s: float, metrics_port: int | None = None) -> int:
    """Keep all parts alive until a signal comes, then end them in order; the exit code.

    The sender takes the port, the others those after it.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    wanted = [metrics_port + place if metrics_port else 0 for place in range(len(PARTS))]
    ports = [port if 0 < port <= _LAST_PORT else None for port in wanted]
    parts = [Part(*each) for each in zip(PARTS, ports, strict=True)]
    kept = [asyncio.ensure_future(part.keep()) for part in parts]
    asked = asyncio.ensure_future(stop.wait())
    # One that ends for good has refused its settings, and so will the others.
    await asyncio.wait([asked, *kept], return_when=asyncio.FIRST_COMPLETED)
    asked.cancel()
    try:
        return await _end(parts, kept, drain_s)
    finally:
        for part in parts:
            part.kill()


async def _end(parts: Sequence[Part], kept: Sequence[asyncio.Future[int]], drain_s: float) -> int:
    for part, task in zip(parts, kept, strict=True):
        part.quit()
        await asyncio.wait([task], timeout=drain_s + _GRACE_S)
        part.kill()
    codes = await asyncio.gather(*kept)
    return max(code if code >= 0 else 1 for code in codes)


async def _spawn(name: str, metrics_port: int | None) -> asyncio.subprocess.Process:
    environ = dict(os.environ)
    if metrics_port is not None:
        environ["HEADRACE_METRICS_PORT"] = str(metrics_port)
    # In the group of this process: whoever ends that ends all.
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "webhooks", "--only", name, "--child-of", str(os.getpid())),
        env=environ,
    )


def end_with(parent: int) -> None:
    """In a part: drain as soon as the process that keeps it has ended, however it did."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise SystemExit(0)
