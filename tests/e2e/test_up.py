"""`headrace up`: everything on one machine with one command."""

from __future__ import annotations

import shlex
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.chaos.stack import Api, Process, Stack, alive, children, free_port, tree, until

from .folders import EXAMPLES, MODELS


class Up:
    """One `headrace up` on its own data folder."""

    def __init__(self, stack: Stack, *models: Path) -> None:
        self._stack = stack
        self.data = stack.folder / "data"
        self._models = models
        self.process, self.api = self.start()

    def start(self) -> tuple[Process, Api]:
        """Run the command; return it and the API it starts."""
        port = free_port()
        words = ["up", *map(str, self._models), "--port", str(port), "--data-dir", str(self.data)]
        process = self._stack.run("up", "headrace", *words, log_format="json")
        api = Api(f"http://127.0.0.1:{port}", process)
        self._stack.keep(api)
        until(lambda: api.status("/healthz") == 200 or process.exit_code is not None, 60)
        assert process.exit_code is None, process.said()
        return process, api

    def again(self) -> None:
        """Start it anew."""
        self.process, self.api = self.start()

    def interrupt(self) -> int:
        """Press Ctrl-C."""
        below = tree(self.process.pid)[1:]
        self.process.signal(signal.SIGINT)
        until(lambda: self.process.exit_code is not None, 30, "up has ended")
        # What has ended is listed until init collects it.
        assert not [pid for pid in below if alive(pid)]
        assert self.process.exit_code is not None
        return self.process.exit_code


@pytest.fixture
def up(own_stack: Stack) -> Iterator[Up]:
    """A running `headrace up` with two models; what it started ends with the test."""
    own_stack.redis.kill()  # up has a Redis of its own
    running = Up(own_stack, EXAMPLES / "echo", MODELS / "actor")
    yield running
    if running.process.exit_code is None:
        running.process.stop(40)


def test_it_runs_says_how_to_call_it_and_stops_with_everything(up: Up) -> None:
    assert up.api.run("echo", {"message": "up"})["output"] == {"message": "up"}
    said = until(lambda: up.process.said().partition("curl ")[2], 10, "a line to copy")
    command = ["curl", *shlex.split(said.splitlines()[0])]
    done = subprocess.run(command, capture_output=True, timeout=30, check=True)
    assert b'"status"' in done.stdout
    assert up.interrupt() == 0


def test_queued_jobs_are_there_after_a_restart(up: Up) -> None:
    jobs = [up.api.submit("actor", {"seconds": 0.3, "name": str(n)})["id"] for n in range(8)]
    assert up.interrupt() == 0
    up.again()
    outcomes = [up.api.finished(job, 40) for job in jobs]
    assert {job["status"] for job in outcomes} == {"succeeded"}


def test_a_second_one_on_the_same_data_is_refused(up: Up, own_stack: Stack) -> None:
    words = ["up", str(EXAMPLES / "echo"), "--port", "0", "--data-dir", str(up.data)]
    second = own_stack.run("second", "headrace", *words)
    until(lambda: second.exit_code is not None, 60)
    assert second.exit_code not in (None, 0)
    assert "data" in second.said()
    assert up.api.status("/healthz") == 200


def test_whatever_dies_is_started_again(up: Up) -> None:
    parts = children(up.process.pid)
    for pid in parts:
        name = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
        subprocess.run(["kill", "-9", str(pid)], check=True)
        until(lambda pid=pid: _has_another(up, pid, len(parts)), 40, f"there is another {name}")
        until(lambda: _serves(up.api), 40, f"all is well after the death of {name}")
    assert up.interrupt() == 0


def _has_another(up: Up, gone: int, count: int) -> bool:
    """Whether something was started in its place: that all is well may be what was before."""
    now = children(up.process.pid)
    return gone not in now and len(now) == count


def _serves(api: Api) -> bool:
    ready = all(api.status(f"/healthz?model={name}") == 200 for name in ("echo", "actor"))
    if not ready or api.status("/healthz") != 200:
        return False
    # A worker that has died is called ready until it is missed.
    asked = {"echo": {"message": 1}, "actor": {"name": "a"}}
    answers = [api.post(*each, headers={"Prefer": "wait=5"}) for each in asked.items()]
    return {answer.status_code for answer in answers} == {200}
