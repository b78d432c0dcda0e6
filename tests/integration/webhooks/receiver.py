"""A receiver on loopback, jobs that end with a webhook, and our processes by pid."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import msgspec
from aiohttp import web

from jobs.cards import CardStore
from jobs.job import Job
from jobs.webhook import FINAL_EVENTS, Webhook

from ..queue_rig import SHARDS, Rig, done

ROOT = Path(__file__).parents[3]
SECRET = "whsec_" + "QUFB" * 8


@dataclass
class Receiver:
    """Takes deliveries, notes them, and answers what it is told to."""

    url: str = ""
    status: int = 200
    #: Statuses of the first answers, before `status`.
    first: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    hang: bool = False
    #: Nobody is answered before so many have called.
    together: int = 0
    #: (id, headers, body, monotonic time)
    calls: list[tuple[str, dict[str, str], bytes, float]] = field(default_factory=list)
    called: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def ids(self) -> list[str]:
        return [call[0] for call in self.calls]

    async def take(self, request: web.Request) -> web.Response:
        body = await request.read()
        headers = {name.lower(): value for name, value in request.headers.items()}
        self.calls.append((headers["webhook-id"], headers, body, time.monotonic()))
        self.called.set()
        if self.hang:
            await asyncio.sleep(60)
        if self.together:
            await self.until(lambda: len(self.calls) >= self.together, 60)
        status = self.first.pop(0) if self.first else self.status
        return web.Response(status=status, headers=self.headers, text="noted")

    async def until(self, enough: Callable[[], bool], within_s: float = 20.0) -> None:
        async with asyncio.timeout(within_s):
            while not enough():
                self.called.clear()
                await self.called.wait()


async def until(enough: Callable[[], object], within_s: float = 20.0) -> None:
    """Look again and again: what is waited for happens in another process."""
    async with asyncio.timeout(within_s):
        while True:
            found = enough()
            if await found if isinstance(found, Awaitable) else found:
                return
            await asyncio.sleep(0.05)


@asynccontextmanager
async def receiving() -> AsyncIterator[Receiver]:
    receiver = Receiver()
    app = web.Application()
    app.router.add_post("/hook{rest:.*}", receiver.take)
    runner = web.AppRunner(app, access_log=None, handle_signals=False, shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    port = runner.addresses[0][1]
    receiver.url = f"http://127.0.0.1:{port}/hook"
    try:
        yield receiver
    finally:
        await runner.cleanup()


async def publish(rig: Rig) -> None:
    """Let a model live on the shards of the rig, so that its sender attends to them."""
    card = msgspec.json.encode({"name": "echo", "version": "1", "shards": SHARDS})
    await CardStore(rig.connections).publish(card, model="echo", version="1")


async def end_jobs(rig: Rig, url: str, number: int = 1, secret: str | None = SECRET) -> list[Job]:
    """Submit jobs with a webhook, and have a worker succeed with them."""
    webhook = msgspec.json.encode(Webhook(url=url, events=FINAL_EVENTS, secret=secret))
    jobs = await asyncio.gather(*(rig.submit(webhook=webhook) for _ in range(number)))
    worker = await rig.worker(f"w{time.monotonic_ns()}")
    left = number
    while left:
        claimed = await worker.claim(min(left, 256))
        await worker.start(claimed)
        await worker.settle([done(job) for job in claimed])
        left -= len(claimed)
    return list(jobs)


class Process:
    """One of our processes, in a group of its own; ended by its pid."""

    def __init__(self, part: str | None, url: str, **settings: object) -> None:
        self.command = [sys.executable, "-P", "-m", "webhooks"]
        self.command += ["--only", part] if part else []
        given = {
            "redis_url": url,
            "webhook_allow": "127.0.0.0/8",
            "webhook_delay_scale": 0.0001,
            "log_format": "json",
            **settings,
        }
        kept = {name: value for name, value in os.environ.items() if "HEADRACE_" not in name}
        self.environment = {
            **kept,
            # After what is given: another version of RQ is tried that way.
            "PYTHONPATH": os.pathsep.join([*filter(None, [os.getenv("PYTHONPATH")]), str(ROOT)]),
            **{f"HEADRACE_{name.upper()}": str(value) for name, value in given.items()},
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> Process:
        self.process = subprocess.Popen(
            self.command, env=self.environment, cwd=ROOT, start_new_session=True
        )
        return self

    def end(self, number: signal.Signals = signal.SIGTERM, within_s: float = 20.0) -> int:
        assert self.process is not None
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.process.wait(within_s)

    def children(self) -> dict[str, int]:
        """Return the pid of each part."""
        assert self.process is not None
        text = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        found = {}
        for pid in text.split():
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().decode().split("\0")
            except FileNotFoundError:
                continue
            if "--only" in words:
                found[words[words.index("--only") + 1]] = int(pid)
        return found

    def __enter__(self) -> Process:
        return self.start()

    def __exit__(self, *_: object) -> None:
        assert self.process is not None
        if self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait(10)
