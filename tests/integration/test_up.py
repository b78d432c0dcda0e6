"""`headrace up` as a process: what it prints, and every way in which it ends and comes back."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TypeVar

import httpx
import pytest

from headrace import Client, Job
from headrace.errors import StartRefused
from headrace.up.ports import claimable_port

ROOT = Path(__file__).parents[2]
ECHO = ROOT / "examples" / "echo"
SLOW = """
import time
from pydantic import BaseModel

class Input(BaseModel):
    seconds: float

class Output(BaseModel):
    slept: float

class Model:
    max_batch = 1
    example = {"seconds": 0.0}

    def load(self, ctx):
        pass

    def predict(self, batch, ctx):
        time.sleep(batch[0].seconds)
        return [Output(slept=item.seconds) for item in batch]
"""
T = TypeVar("T")

NAMES = ("redis", "api", "webhooks", "worker echo")

pytestmark = pytest.mark.timeout(120)


class Up:
    """A `headrace up` on a data folder that stays, its lines, and a client."""

    def __init__(self, data: Path, *words: str) -> None:
        self.port = claimable_port("127.0.0.1", 0)
        self.client = Client(f"http://127.0.0.1:{self.port}")
        self.lines: list[str] = []
        ours = {name: value for name, value in os.environ.items() if "HEADRACE" not in name}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "headrace", "up", *words, "--port", str(self.port)],
            env=ours | {"HEADRACE_DATA_DIR": str(data), "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stdout is not None
        with self.process.stdout as lines:
            for line in lines:
                self.lines.append(line.rstrip("\n"))

    def ready(self, model: str = "echo") -> Up:
        self.line(rf"{model} is ready")
        return self

    def line(self, pattern: str, seconds: float = 60) -> re.Match[str]:
        """Wait for a line that matches."""

        def found() -> re.Match[str] | None:
            return next((hit for line in self.lines if (hit := re.search(pattern, line))), None)

        return self.until(found, f"a line like {pattern}", seconds)

    def until(self, true: Callable[[], T | None], what: str, seconds: float = 60) -> T:
        end = time.monotonic() + seconds
        while not (answer := true()):
            waiting = time.monotonic() < end and self.process.poll() is None
            assert waiting, f"{what} is missing in\n" + "\n".join(self.lines)
            time.sleep(0.02)
        return answer

    def pids(self, name: str) -> list[int]:
        """Every pid that was ever told for a process, in order."""
        told = (re.search(rf" {name} running \(pid (\d+)\)", line) for line in self.lines)
        return [int(hit[1]) for hit in told if hit]

    def _stops(self) -> bool:
        ended = self.process.poll() is not None
        return ended or any("stopping" in line for line in self.lines)

    def end(self, *signals: signal.Signals, seconds: float = 60) -> int:
        for place, number in enumerate(signals):
            if place:
                # Two signals of a kind that nobody has taken yet are one.
                self.until(self._stops, "word that it stops")
            self.process.send_signal(number)
        code = self.process.wait(seconds)
        self._reader.join(seconds)
        self.client.close()
        return code


@pytest.fixture
def data() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix="hr-up-"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def up(data: Path) -> Iterator[Callable[..., Up]]:
    made: list[Up] = []

    def start(*folders: Path) -> Up:
        made.append(Up(data, *map(str, folders)))
        return made[-1]

    yield start
    for each in made:
        if each.process.poll() is None:
            each.end(signal.SIGINT, signal.SIGINT)


@pytest.fixture
def slow(tmp_path: Path) -> Path:
    folder = tmp_path / "slow"
    folder.mkdir()
    (folder / "model.py").write_text(SLOW)
    return folder


def gone(pid: int) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return True


@pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
def test_the_curl_line_works_as_pasted_and_ctrl_c_ends_all(up: Callable[..., Up]) -> None:
    it = up(ECHO).ready()
    line = it.line(r"^curl .*")[0]
    done = subprocess.run(["sh", "-c", line], capture_output=True, text=True, check=True)
    assert '"status":"succeeded"' in done.stdout.replace(" ", "")
    assert '{"message":"hello"}' in done.stdout
    pids = [pid for name in NAMES for pid in it.pids(name)]
    assert len(pids) == len(NAMES)
    assert it.end(signal.SIGINT) == 0
    assert all(map(gone, pids))
    stopped = [line.split()[1] for line in it.lines if line.endswith("stopped")]
    assert set(stopped) == {"redis", "api", "webhooks", "worker"}


def test_each_process_that_is_killed_is_healed(up: Callable[..., Up]) -> None:
    it = up(ECHO).ready()
    for name in NAMES:
        before = it.pids(name)
        os.kill(before[-1], signal.SIGKILL)
        it.line(rf"{name} restarting after killed by SIGKILL")
        it.until(lambda: len(it.pids(name)) > len(before), f"a new {name}")  # noqa: B023
        job = it.client.submit("echo", {"message": name})
        assert job.wait(30).output == {"message": name}
    assert it.end(signal.SIGTERM) == 0


def test_a_receiver_on_loopback_is_told_although_nothing_was_set(up: Callable[..., Up]) -> None:
    told: list[dict[str, object]] = []

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            told.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            """Say nothing."""

    with HTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        it = up(ECHO).ready()
        webhook = {"url": f"http://localhost:{server.server_port}/hook", "secret": "x" * 20}
        body = {"input": {"message": "hi"}, "webhook": webhook}
        answer = httpx.post(f"http://127.0.0.1:{it.port}/v1/models/echo/jobs", json=body)
        assert answer.status_code == 202, answer.text
        it.until(lambda: told, "a webhook", 30)
        server.shutdown()
    assert told[0]["type"] == "job.succeeded"


def test_queued_jobs_are_there_after_a_restart(up: Callable[..., Up], slow: Path) -> None:
    it = up(slow).ready("slow")
    ids = [it.client.submit("slow", {"seconds": 1.0}).id for _ in range(8)]
    first = it.client.jobs.get(ids[0])
    it.until(lambda: first.refresh().status != "queued", "a job that has begun")
    assert it.end(signal.SIGTERM) == 0
    between = datetime.now(UTC)
    again = up(slow).ready("slow")
    jobs = [again.client.jobs.get(id_).wait(60) for id_ in ids]
    assert {job.data["attempt"] for job in jobs} == {1}
    assert any(job.started_at and job.started_at > between for job in jobs)
    assert any(job.finished_at and job.finished_at < between for job in jobs)


def test_ctrl_c_lets_running_work_finish_and_a_second_does_not(
    up: Callable[..., Up], slow: Path
) -> None:
    def running(it: Up, seconds: float) -> Job:
        job = it.client.submit("slow", {"seconds": seconds})
        it.until(lambda: job.refresh().status == "running", "a running job")
        return job

    it = up(slow).ready("slow")
    finished = running(it, 4.0).id
    assert it.end(signal.SIGINT) == 0
    it = up(slow).ready("slow")
    assert it.client.jobs.get(finished).data["attempt"] == 1
    assert it.client.jobs.get(finished).wait(30).output == {"slept": 4.0}
    interrupted = running(it, 20).id
    began = time.monotonic()
    assert it.end(signal.SIGINT, signal.SIGINT) == 130
    assert time.monotonic() - began < 10
    again = up(slow).ready("slow")
    assert again.client.jobs.get(interrupted).cancel().status in ("canceling", "canceled")


def test_after_a_kill_nothing_is_left_and_it_can_be_started_again(up: Callable[..., Up]) -> None:
    it = up(ECHO).ready()
    done = it.client.submit("echo", {"message": 1}).wait(30).id
    pids = [pid for name in ("redis", "api", "worker echo") for pid in it.pids(name)]
    assert it.end(signal.SIGKILL) == -9
    end = time.monotonic() + 45
    while not all(map(gone, pids)):
        assert time.monotonic() < end
        time.sleep(0.05)
    again = up(ECHO).ready()
    assert again.client.jobs.get(done).status == "succeeded"
    assert again.client.submit("echo", {"message": 2}).wait(30).output == {"message": 2}


def test_a_second_on_the_same_data_is_refused(up: Callable[..., Up], data: Path) -> None:
    it = up(ECHO)
    it.line("redis running")
    second = up(ECHO)
    assert second.end() == 2
    assert f"already runs on {data} (pid {it.process.pid})" in second.lines[-1]
    it.ready()


def test_several_models_and_several_http_processes(up: Callable[..., Up], slow: Path) -> None:
    it = up(ECHO, slow).ready().ready("slow")
    assert it.client.map("echo", [{"message": n} for n in range(30)]) == [
        {"message": n} for n in range(30)
    ]
    assert {card["name"] for card in it.client.models.list()} == {"echo", "slow"}
    with pytest.raises(StartRefused):
        claimable_port("127.0.0.1", it.port)
    assert it.end(signal.SIGINT) == 0
