"""The disk of the log fills up: submits are refused early, jobs end, and new ones are taken."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from api.reserve import DISK_LIMIT
from headrace.chaos.api import Api
from headrace.chaos.ledger import Ledger
from headrace.chaos.process import Process, free_port, until
from headrace.chaos.stack import CODE, Stack

from .filling import BULKY, KEPT_S, KIB, MIB, MODEL, Clients, learned, watched
from .sizes import report

DISK = 48 * MIB
DRAINS_S = 60
SMALL = {"pad": "x" * 100, "size": 100, "seconds": 0.05}


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A small file system of its own."""
    place = tmp_path / "disk"
    place.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(place)],
        capture_output=True,
        check=False,
        text=True,
    )
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "--lazy", str(place)], check=True)


def share(disk: Path) -> float:
    """How full it is."""
    told = os.statvfs(disk)
    return 1 - told.f_bavail / told.f_blocks


def fill(disk: Path) -> Path:
    """Take what is left of it, as somebody else's file."""
    file = disk / "foreign"
    with file.open("wb", buffering=0) as out, contextlib.suppress(OSError):
        while True:
            out.write(b"x" * 4096)
    return file


@contextlib.contextmanager
def kept_alive(stack: Stack) -> Iterator[list[float]]:
    """Start Redis again whenever it has ended, as an init system does; yields when it did."""
    ends: list[float] = []
    done = threading.Event()

    def keep() -> None:
        while not done.wait(0.2):
            if not stack.redis.running:
                ends.append(time.monotonic())
                stack.redis.start()

    thread = threading.Thread(target=keep)
    thread.start()
    try:
        yield ends
    finally:
        done.set()
        thread.join()


@pytest.mark.timeout(200)
def test_a_queue_that_fills_the_disk_drains_and_goes_on(disk: Path) -> None:
    """First while no worker runs, then with a flow of many times the size of the disk."""
    place = ("--dir", str(disk))
    with Stack(redis_args=place, result_ttl_s=str(KEPT_S)) as stack, kept_alive(stack) as ends:
        api = stack.api()
        ledger = Ledger(stack.folder / "ledger.jsonl")
        clients = Clients([api], ledger)
        worker = stack.worker(BULKY)
        api.ready(MODEL)
        given = {"pad": "x" * 50 * KIB, "size": 10}
        with watched(lambda: share(disk)) as peak, clients.reading():
            clients.flood(lambda _: given, 20)
            until(lambda: learned(stack.redis_url), 20, "a learned size")
            worker.stop()
            time.sleep(2)
            flooded = clients.flood(lambda _: given, 5000)
            filled = peak[0]
            stack.worker(BULKY)
            clients.drained(DRAINS_S)
            again_s = clients.taken_again(given, KEPT_S + 30)
            flowed = flow(clients, given, 3 * DISK)
            clients.drained(DRAINS_S)
        verdict = ledger.verdict()
        held = (
            verdict["lost"] == verdict["two_outcomes"] == 0
            and not clients.wrong
            and verdict["statuses"] == {"succeeded": verdict["accepted"]}
            and "queue_full" in verdict["refused"]
            and 0 < flooded < 5000
            and filled < DISK_LIMIT + 0.08
            and again_s < KEPT_S + 30
            and flowed
            and not ends
        )
        shown = {"filled": f"{filled:.0%}", "peak": f"{peak[0]:.0%}", "redis_ended": len(ends)}
        report("disk full", held, **verdict, again_s=round(again_s, 1), **shown)
        assert held, clients.wrong
        ledger.close()


def flow(clients: Clients, given: dict[str, object], most: int) -> bool:
    """Submit so many bytes, whatever is refused now and then; say whether all went in in time."""
    count = most // len(str(given["pad"]))
    until = time.monotonic() + 90
    while count > 0 and time.monotonic() < until:
        taken = clients.flood(lambda _: given, count)
        count -= taken
        if not taken:
            time.sleep(0.2)
    return count <= 0


def refused_once_full(api: Api) -> httpx.Response:
    """Submit as soon as the API says that it takes no jobs: it looks once a second."""
    until(lambda: api.status("/healthz") == 503, 10, "the API knows")
    return api.post(MODEL, SMALL)


@pytest.mark.timeout(200)
def test_a_disk_that_others_fill_ends_redis_and_loses_nothing(disk: Path) -> None:
    place = ("--dir", str(disk))
    with Stack(redis_args=place) as stack, kept_alive(stack) as ends:
        api = stack.api()
        ledger = Ledger(stack.folder / "ledger.jsonl")
        clients = Clients([api], ledger)
        stack.worker(BULKY)
        api.ready(MODEL)
        with clients.reading():
            clients.flood(lambda _: SMALL, 400)
            foreign = fill(disk)
            until(lambda: len(ends) > 1, 30, "the end of Redis, twice")
            refused = refused_once_full(api)
            time.sleep(5)
            foreign.unlink()
            clients.drained(DRAINS_S)
            again_s = clients.taken_again(SMALL, 30)
            clients.drained(DRAINS_S)
        judge("disk filled by others", clients, refused, again_s, redis_ended=len(ends))


@pytest.mark.timeout(200)
def test_headrace_up_finishes_what_it_has_on_a_disk_that_stays_full(disk: Path) -> None:
    port = free_port()
    url = f"http://127.0.0.1:{port}"
    command = [sys.executable, "-P", "-m", "headrace", "up", str(BULKY), "--port", str(port)]
    given = {"PYTHONPATH": str(CODE), "HEADRACE_DATA_DIR": str(disk / "data")}
    process = Process(command, disk.parent / "up.log", given).start()
    api = Api(url, process, http=httpx.Client(base_url=url, timeout=30))
    try:
        until(lambda: api.status("/healthz") == 200, 60, "headrace up")
        ledger = Ledger(disk.parent / "ledger.jsonl")
        clients = Clients([api], ledger)
        with clients.reading():
            clients.flood(lambda _: SMALL, 400)
            foreign = fill(disk)
            until(lambda: "redis restarting" in process.said(), 30, "the end of Redis")
            refused = refused_once_full(api)
            # With the ballast alone: what fills the disk is still there.
            clients.drained(DRAINS_S)
            open_then = len(ledger.open())
            foreign.unlink()
            again_s = clients.taken_again(SMALL, 60)
            clients.drained(DRAINS_S)
        judge("disk filled by others, headrace up", clients, refused, again_s, open_then=open_then)
        assert open_then == 0
        assert process.stop(60) == 0
    finally:
        process.signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.stop(30)
        process.kill_tree()
        api.http.close()


def judge(
    gate: str, clients: Clients, refused: httpx.Response, again_s: float, **more: object
) -> None:
    """Everything that was accepted has ended once, and new jobs are taken."""
    verdict = clients.ledger.verdict()
    held = (
        verdict["lost"] == verdict["two_outcomes"] == 0
        and not clients.wrong
        and verdict["statuses"] == {"succeeded": verdict["accepted"]}
        and refused.status_code == 503
        and again_s < 30
    )
    report(gate, held, **verdict, again_s=round(again_s, 1), **more)
    assert held, (clients.wrong, refused.text)
    clients.ledger.close()
