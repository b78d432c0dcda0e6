"""Real processes that die, hang, or refuse to start, and what is done about them."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from headrace.errors import StartRefused
from headrace.up import child as child_module
from headrace.up.child import Backoff, Child, Command, State
from headrace.up.crew import Crew
from tests.processes import alive

Launch = Callable[..., Child]

#: Notes in `notes` when it stops, after a pause.
STOPPER = """
import pathlib, signal, sys, time
def stop(*_):
    time.sleep(float(sys.argv[2]))
    with open(sys.argv[1], "a") as notes:
        notes.write(sys.argv[3] + "\\n")
    sys.exit(0)
signal.signal(signal.SIGTERM, stop)
pathlib.Path(sys.argv[4]).touch()
while True:
    signal.pause()
"""


@pytest.fixture
def launch(tmp_path: Path) -> Iterator[Launch]:
    made: list[Child] = []

    def make(
        code: str,
        *arguments: str,
        name: str = "child",
        ready: Callable[[], Awaitable[bool]] | None = None,
    ) -> Child:
        log = tmp_path / f"{name}.log"
        argv = (sys.executable, "-c", code, *arguments)
        command = Command(name=name, argv=argv, environment=os.environ, log=log, ready=ready)
        made.append(Child(command))
        return made[-1]

    yield make
    for child in made:
        child.kill()


@contextlib.asynccontextmanager
async def kept(child: Child) -> AsyncIterator[asyncio.Task[None]]:
    task = asyncio.create_task(child.keep())
    try:
        yield task
    finally:
        child.kill()
        await task


async def until(true: Callable[[], object], limit_s: float = 10) -> None:
    async with asyncio.timeout(limit_s):
        while True:
            if true():
                return
            await asyncio.sleep(0.01)


def test_pauses_double_up_to_half_a_minute_and_a_quiet_minute_resets_them() -> None:
    backoff = Backoff()
    pauses = [backoff.after(1) for _ in range(10)]
    assert pauses[:4] == [0.2, 0.4, 0.8, 1.6]
    assert pauses[-1] == 30
    assert backoff.after(61) == 0.2


async def test_a_killed_process_is_started_again(launch: Launch) -> None:
    child = launch("import signal; signal.pause()")
    async with kept(child):
        await until(lambda: child.state is State.RUNNING)
        first = child.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        await until(lambda: child.restarts == 1 and child.state is State.RUNNING)
        assert child.pid != first
        assert child.ended == "killed by SIGKILL"


async def test_a_process_that_ends_says_why(launch: Launch) -> None:
    child = launch("import sys; print('ok'); sys.exit('the port is taken')")
    async with kept(child):
        await until(lambda: child.restarts == 2)
        assert child.ended == "exit 1: the port is taken"


async def test_a_program_that_is_not_there_is_tried_again(tmp_path: Path) -> None:
    argv = (str(tmp_path / "none"),)
    child = Child(Command(name="none", argv=argv, environment={}, log=tmp_path / "log"))
    async with kept(child):
        await until(lambda: child.restarts == 1)
        assert child.ended == "does not start: No such file or directory"


async def test_quitting_lets_it_finish_and_does_not_start_it_again(
    launch: Launch, tmp_path: Path
) -> None:
    notes, up = tmp_path / "notes", tmp_path / "up"
    child = launch(STOPPER, str(notes), "0.1", "finished", str(up))
    async with kept(child) as task:
        await until(up.exists)
        child.quit()
        await asyncio.wait_for(task, 5)
    assert notes.read_text() == "finished\n"
    assert (child.state, child.restarts, child.ended) == (State.STOPPED, 0, "exit 0")


async def test_quitting_during_a_pause_ends_at_once(
    launch: Launch, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_module, "_FIRST_PAUSE_S", 30.0)
    child = launch("raise SystemExit(1)")
    async with kept(child) as task:
        await until(lambda: child.state is State.RESTARTING)
        child.quit()
        await asyncio.wait_for(task, 1)


async def test_what_it_started_dies_with_it(launch: Launch, tmp_path: Path) -> None:
    note = tmp_path / "pid"
    child = launch(
        "import pathlib, signal, subprocess, sys\n"
        "inner = subprocess.Popen([sys.executable, '-c', 'import signal; signal.pause()'])\n"
        f"pathlib.Path({str(note)!r}).write_text(str(inner.pid))\n"
        "signal.pause()"
    )
    async with kept(child):
        await until(lambda: note.exists() and note.read_text())
        inner = int(note.read_text())
        assert child.pid is not None
        os.kill(child.pid, signal.SIGKILL)
        await until(lambda: child.restarts == 1)
        await until(lambda: not alive(inner))


@pytest.mark.skipif(sys.platform != "linux", reason="needs PR_SET_PDEATHSIG")
async def test_it_does_not_outlive_us(tmp_path: Path) -> None:
    note = tmp_path / "pid"
    code = f"""
import asyncio, os, pathlib, sys
from headrace.up.child import Child, Command
log = pathlib.Path({str(tmp_path / "log")!r})
argv = (sys.executable, "-c", "import signal; signal.pause()")
child = Child(Command(name="c", argv=argv, environment=os.environ, log=log))
async def main():
    task = asyncio.create_task(child.keep())
    await child.decided.wait()
    pathlib.Path({str(note)!r}).write_text(str(child.pid))
    await task
asyncio.run(main())
"""
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", code, cwd=Path.cwd())
    await until(lambda: note.exists() and note.read_text())
    inner = int(note.read_text())
    assert alive(inner)
    parent.kill()
    await parent.wait()
    await until(lambda: not alive(inner))


async def test_ready_is_asked_before_it_counts_as_running(launch: Launch) -> None:
    answers = iter([False, False, True])

    async def ready() -> bool:
        return next(answers)

    child = launch("import signal; signal.pause()", ready=ready)
    async with kept(child):
        await until(lambda: child.pid)
        assert child.state is State.STARTING
        await until(lambda: child.state is State.RUNNING)
        assert child.came_up


def crew_of(launch: Launch, tmp_path: Path, *, worker_pause: str = "0.2") -> Crew:
    notes = str(tmp_path / "notes")

    def member(name: str, pause: str) -> Child:
        return launch(STOPPER, notes, pause, name, str(tmp_path / f"up-{name}"), name=name)

    workers = [member("worker", worker_pause)]
    api, webhooks = member("api", "0.1"), member("webhooks", "0.1")
    return Crew(member("redis", "0"), api, webhooks, workers, drain_s=5)


async def started(crew: Crew, group: asyncio.TaskGroup, tmp_path: Path) -> None:
    await crew.start_redis(group)
    await crew.start_rest(group)
    for name in ("redis", "api", "webhooks", "worker"):
        await until((tmp_path / f"up-{name}").exists)


async def test_the_api_stops_first_and_redis_last(launch: Launch, tmp_path: Path) -> None:
    crew = crew_of(launch, tmp_path)
    async with asyncio.TaskGroup() as group:
        await started(crew, group, tmp_path)
        await crew.stop(asyncio.Event())
    assert (tmp_path / "notes").read_text().split() == ["api", "worker", "webhooks", "redis"]
    assert all(child.state is State.STOPPED for child in crew.children)


async def test_in_a_hurry_the_workers_are_killed_but_redis_ends_by_itself(
    launch: Launch, tmp_path: Path
) -> None:
    crew = crew_of(launch, tmp_path, worker_pause="60")
    hurried = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        await started(crew, group, tmp_path)
        stopping = group.create_task(crew.stop(hurried))
        await until(lambda: crew.api.state is State.STOPPED)
        assert not stopping.done()
        hurried.set()
        await asyncio.wait_for(stopping, 5)
    assert crew.workers[0].ended == "killed by SIGKILL"
    # What sends webhooks has nothing to wait for, and may be quicker than the signal.
    told = (tmp_path / "notes").read_text().split()
    assert [name for name in told if name != "webhooks"] == ["api", "redis"]


async def test_a_worker_that_does_not_drain_in_time_is_killed(
    launch: Launch, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("headrace.up.crew._GRACE_S", 0.3)
    crew = crew_of(launch, tmp_path, worker_pause="60")
    crew._drain_s = 0
    async with asyncio.TaskGroup() as group:
        await started(crew, group, tmp_path)
        await asyncio.wait_for(crew.stop(asyncio.Event()), 5)
    assert crew.workers[0].ended == "killed by SIGKILL"


async def test_an_api_that_never_comes_up_refuses_the_start(launch: Launch) -> None:
    api = launch("raise SystemExit('no key and not on loopback')", name="api", ready=never)
    webhooks = launch("import signal; signal.pause()", name="webhooks")
    crew = Crew(None, api, webhooks, [], drain_s=0)
    async with asyncio.TaskGroup() as group:
        with pytest.raises(StartRefused, match="api does not start: exit 1: no key and not"):
            await crew.start_rest(group)
        await crew.stop(asyncio.Event())


async def never() -> bool:
    return False


async def test_logs_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("headrace.up.log_files._LARGEST_BYTES", 10)
    log = tmp_path / "child.log"
    log.write_text("x" * 11)
    argv = (sys.executable, "-c", "print('new')")
    child = Child(Command(name="child", argv=argv, environment=os.environ, log=log))
    async with kept(child):
        await until(lambda: child.restarts == 1)
    assert (tmp_path / "child.log.1").read_text() == "x" * 11
    assert log.read_text().startswith("new")
