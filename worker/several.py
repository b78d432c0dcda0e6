"""Several model folders: a worker process for each."""

import asyncio
import contextlib
import ctypes
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from telemetry import logs

PR_SET_PDEATHSIG = 1

log = logs.get("worker.several")


async def run_several(folders: Sequence[Path], port: int | None) -> int:
    """Run until one ends or a signal comes, then stop them all; the highest exit code."""
    children = [await _spawn(folder, port, place) for place, folder in enumerate(folders)]
    waits = [asyncio.ensure_future(child.wait()) for child in children]
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, _pass_on, children)
    await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    # What supervises this process starts all of them anew: a half that runs would hide the loss.
    _pass_on(children)
    codes = await asyncio.gather(*waits)
    log.info("workers_ended", codes=codes)
    return max(code if code >= 0 else 1 for code in codes)


async def _spawn(folder: Path, port: int | None, place: int) -> asyncio.subprocess.Process:
    environ = dict(os.environ)
    if port:
        environ["HEADRACE_WORKER_PORT"] = str(port + place)
    # A group of its own: Ctrl-C reaches this process, which passes it on once.
    return await asyncio.create_subprocess_exec(
        *(sys.executable, "-P", "-m", "worker", str(folder), "--child-of", str(os.getpid())),
        env=environ,
        start_new_session=True,
    )


def _pass_on(children: Sequence[asyncio.subprocess.Process]) -> None:
    for child in children:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                child.send_signal(signal.SIGTERM)


def end_with(parent: int) -> None:
    """In a child: drain as soon as the parent has ended, however it did."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != parent:
        raise SystemExit(0)
