"""Waves of jobs of every kind through one API, and how large the processes are after each."""

from __future__ import annotations

import asyncio
import itertools
import secrets
from collections.abc import Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from headrace.chaos.stack import FINAL

MODEL = Path(__file__).resolve().parent / "models" / "growing"
_PATH = f"/v1/models/{MODEL.name}/jobs"
_CONNECTIONS = 24
_BATCH = 50


@dataclass(frozen=True, slots=True)
class Size:
    """A process after a wave."""

    rss: int
    fds: int
    threads: int


def size_of(pid: int) -> Size:
    """Return how large a process is now; memory in bytes."""
    folder = Path(f"/proc/{pid}")
    status = dict(line.split(":\t", 1) for line in (folder / "status").read_text().splitlines())
    return Size(
        rss=int(status["VmRSS"].split()[0]) * 1024,
        fds=len(list((folder / "fd").iterdir())),
        threads=int(status["Threads"]),
    )


def slope(points: list[tuple[float, float]]) -> float:
    """Return the least-squares slope of y over x."""
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread


class Waves:
    """A client with some connections; every kind of request is in each wave."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._mark = secrets.token_hex(4)
        self._numbers = itertools.count()
        self.wrong: list[Any] = []

    async def send(self, jobs: int) -> None:
        """Send a wave of so many jobs, and see each of them end."""
        connector = aiohttp.TCPConnector(limit=_CONNECTIONS)
        # A job is asked about right after it was sent: it is soon forgotten.
        turns = asyncio.Semaphore(_CONNECTIONS)

        async def in_turn(way: Coroutine[Any, Any, None]) -> None:
            async with turns:
                await way

        timeout = aiohttp.ClientTimeout(total=120)
        async with aiohttp.ClientSession(
            self._url, connector=connector, timeout=timeout
        ) as session:
            batches = jobs // 2 // _BATCH
            singles = jobs - batches * _BATCH
            ways = [self._batch(session) for _ in range(batches)]
            ways += [self._single(session, number) for number in range(singles)]
            await asyncio.gather(*map(in_turn, ways))

    async def _ask(self, session: aiohttp.ClientSession, *given: str, **more: Any) -> Any:
        async with session.request(*given, **more) as answer:
            if answer.status >= 300:
                self.wrong.append((given, answer.status, await answer.text()))
                return None
            return await answer.json()

    async def _batch(self, session: aiohttp.ClientSession) -> None:
        inputs = [{"text": f"{next(self._numbers)}"} for _ in range(_BATCH)]
        key = {"Idempotency-Key": f"{self._mark}-{inputs[0]['text']}"}
        made = await self._ask(
            session, "POST", f"{_PATH}/batch", json={"inputs": inputs}, headers=key
        )
        last = made["jobs"][-1]["id"] if made else ""
        await self._ended(session, last)

    async def _single(self, session: aiohttp.ClientSession, number: int) -> None:
        body: dict[str, Any] = {"input": {"text": str(next(self._numbers))}}
        headers = {"Idempotency-Key": f"{self._mark}-{body['input']['text']}"}
        if number % 10 == 0:
            body["input"]["fail"] = True
        if number % 3:
            headers["Prefer"] = "wait=30"
        if number % 7 == 0:
            body |= {"metadata": {"a": number}, "deadline_s": 60, "priority": "low"}
        made = await self._ask(session, "POST", _PATH, json=body, headers=headers)
        if made is None:
            return
        if number % 11 == 0:
            async with session.post(f"/v1/jobs/{made['id']}/cancel") as answer:
                await answer.read()
        await self._ended(session, made["id"])

    async def _ended(self, session: aiohttp.ClientSession, job_id: str) -> None:
        job = await self._ask(session, "GET", f"/v1/jobs/{job_id}?wait=30")
        if job is not None and job["status"] not in FINAL:
            self.wrong.append(job)
