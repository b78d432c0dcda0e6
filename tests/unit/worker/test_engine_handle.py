"""The engine's process as the feeder sees it, with a child that follows a script."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from worker.aftermath import Death
from worker.engine_handle import EngineHandle, EngineState
from worker.engine_process import DUMP_S
from worker.stacks import MOST_BYTES
from worker.wire import Load, Loaded, Probe, ProbeOk, ToFeeder

from .waiting import until

PREAMBLE = """
import faulthandler, os, signal, socket, sys, time
import msgspec
from worker.channel import EngineChannel
from worker.wire import *
stacks = int(sys.argv[sys.argv.index("--stacks") + 1])
faulthandler.enable(stacks)
faulthandler.register(signal.SIGUSR1, stacks)
channel = EngineChannel(socket.socket(fileno=int(sys.argv[-1])))
(load,) = channel.receive()
loaded = Loaded(b"{}", 0.1, 0, "cpu", 1, 0, 300, 5)
"""


class Listener:
    """Keeps what it is told."""

    def __init__(self) -> None:
        self.frames: list[ToFeeder] = []
        self.deaths: list[Death] = []
        self.loads = 0

    def heard(self, frames: list[ToFeeder]) -> None:
        self.frames += frames

    def loaded(self, loaded: Loaded) -> None:
        self.loads += 1

    def died(self, death: Death) -> None:
        self.deaths.append(death)


@pytest.fixture
def child(tmp_path: Path) -> Callable[[str], list[str]]:
    def write(script: str) -> list[str]:
        file = tmp_path / "child.py"
        file.write_text(PREAMBLE + textwrap.dedent(script))
        return [sys.executable, "-P", str(file)]

    return write


@asynccontextmanager
async def alive(command: list[str]) -> AsyncIterator[tuple[EngineHandle, Listener]]:
    handle = EngineHandle(lambda: Load("/m", "m", "1"), command)
    listener = Listener()
    task = asyncio.create_task(handle.run(listener))
    try:
        yield handle, listener
    finally:
        await handle.stop(0.0)
        await task


ECHO = """
channel.send([loaded])
while (frames := channel.receive()) is not None:
    for frame in frames:
        if isinstance(frame, Probe):
            channel.send([ProbeOk(frame.number)])
        if isinstance(frame, Stop):
            sys.exit(0)
"""


async def test_frames_go_both_ways_and_a_stop_ends_it_in_order(child):
    async with alive(child(ECHO)) as (handle, listener):
        await until(lambda: handle.ready)
        handle.send(Probe(1), Probe(2))
        await until(lambda: len(listener.frames) == 3)
        assert listener.frames[1:] == [ProbeOk(1), ProbeOk(2)]
        await handle.stop(5.0)
        await until(lambda: listener.deaths)
    assert listener.deaths[0].exit_code == 0


async def test_a_killed_engine_is_followed_by_another_at_once(child):
    async with alive(child(ECHO)) as (handle, listener):
        await until(lambda: handle.ready)
        os.kill(handle.pid, signal.SIGKILL)
        await until(lambda: listener.loads == 2)
        assert listener.deaths == [Death("sigkill", ordered=False, exit_code=-9, served=True)]
        assert handle.life == 2


async def test_an_ordered_kill_is_named_and_leaves_the_stacks(child, monkeypatch):
    # As long as a busy machine needs: who has written them is not waited for any longer.
    monkeypatch.setattr("worker.engine_process.DUMP_S", 10.0)
    async with alive(child(ECHO)) as (handle, listener):
        await until(lambda: handle.ready)
        handle.kill("cancel")
        handle.kill("timeout")
        assert not handle.ready
        await until(lambda: listener.loads == 2)
        (death,) = listener.deaths
        told = (death.reason, death.ordered, death.exit_code, death.served)
        assert told == ("cancel", True, -9, True)
        assert 'child.py", line' in death.detail


async def test_a_crash_of_native_code_leaves_its_stack(child):
    script = """
    def deep():
        import ctypes
        ctypes.string_at(0)
    channel.send([loaded])
    deep()
    """
    async with alive(child(script)) as (_, listener):
        await until(lambda: listener.deaths)
    (death,) = listener.deaths[:1]
    assert (death.reason, death.ordered) == ("sigsegv", False)
    assert death.detail.startswith("Fatal Python error: Segmentation fault")
    assert "in deep" in death.detail


LOADED = "channel.send([loaded])\n"
STUCK = {
    "stopped": LOADED + "os.kill(os.getpid(), signal.SIGSTOP)",
    "deaf": "faulthandler.unregister(10)\nsignal.signal(10, signal.SIG_IGN)\n" + LOADED,
    "writing": LOADED + "while True: os.write(stacks, b'x' * 100)",
}


def state_of(pid: int) -> str:
    """The letter that the kernel has for it; Z also once it is gone."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"


@pytest.mark.parametrize("how", STUCK)
async def test_no_engine_delays_its_kill_by_more_than_the_time_for_its_stacks(child, how):
    async with alive(child(f"{STUCK[how]}\ntime.sleep(60)")) as (handle, listener):
        await until(lambda: handle.ready)
        await until(lambda: how != "stopped" or state_of(handle.pid) == "T")
        loop = asyncio.get_running_loop()
        began = loop.time()
        handle.kill("hung")
        await until(lambda: listener.deaths)
        assert loop.time() - began < DUMP_S + 1.0
        assert len(listener.deaths[0].detail) <= MOST_BYTES


async def test_what_an_engine_said_just_before_its_death_is_heard(child):
    script = """
    channel.send([loaded, *(ProbeOk(n) for n in range(2000))])
    os.kill(os.getpid(), signal.SIGKILL)
    """
    async with alive(child(script)) as (_, listener):
        await until(lambda: listener.deaths)
        assert len([each for each in listener.frames if isinstance(each, ProbeOk)]) == 2000


async def test_a_model_that_does_not_load_is_failed_with_its_reason_and_tried_again(child):
    script = """
    channel.send([LoadFailed("model_load_failed", "no such file")])
    sys.exit(EXIT_LOAD_FAILED)
    """
    async with alive(child(script)) as (handle, listener):
        await until(lambda: listener.deaths)
        assert (handle.state, handle.reason) == (EngineState.FAILED, "no such file")
        assert listener.deaths[0].reason == "load_failed"
        await until(lambda: handle.life == 2)
        assert handle.state is EngineState.FAILED


async def test_an_engine_that_dies_while_it_loads_is_failed_too(child):
    async with alive(child("os.kill(os.getpid(), signal.SIGKILL)")) as (handle, listener):
        await until(lambda: listener.deaths)
        assert handle.state is EngineState.FAILED
        assert handle.reason == "the engine ended while it loaded the model: sigkill"


async def test_a_fatal_error_is_named(child):
    script = """
    channel.send([loaded])
    channel.send([Fatal("illegal address")])
    sys.exit(EXIT_FATAL)
    """
    async with alive(child(script)) as (_, listener):
        await until(lambda: listener.deaths)
        assert (listener.deaths[0].reason, listener.deaths[0].detail) == (
            "fatal",
            "illegal address",
        )


async def test_an_engine_that_hangs_up_or_talks_nonsense_is_killed(child, monkeypatch):
    monkeypatch.setattr("worker.engine_process.PARTING_S", 0.2)
    script = """
    channel.send([loaded])
    os.write(channel.fileno(), b"\\xff\\xff\\xff\\xff nonsense")
    time.sleep(60)
    """
    async with alive(child(script)) as (_, listener):
        await until(lambda: listener.deaths)
        assert listener.deaths[0].reason == "broken_stream"
    hung_up = "channel.send([loaded])\nchannel._socket.close()\ntime.sleep(60)"
    async with alive(child(hung_up)) as (_, listener):
        await until(lambda: listener.deaths)
        assert listener.deaths[0].reason == "hung_up"


async def test_processes_that_the_engine_forked_go_with_it(child, tmp_path, monkeypatch):
    monkeypatch.setattr("worker.engine_process.PARTING_S", 0.2)
    note = tmp_path / "grandchild"
    script = f"""
    pid = os.fork()
    if pid == 0:
        time.sleep(60)
        os._exit(0)
    open({str(note)!r}, "w").write(str(pid))
    channel.send([loaded])
    time.sleep(60)
    """
    async with alive(child(script)) as (handle, listener):
        await until(lambda: handle.ready)
        handle.kill("cancel")
        await until(lambda: listener.deaths)
        grandchild = int(note.read_text())
        await until(lambda: state_of(grandchild) == "Z")


async def test_frames_for_an_engine_that_is_gone_are_let_go_until_its_death_is_told(child):
    loop = asyncio.get_running_loop()
    async with alive(child(ECHO)) as (handle, listener):
        await until(lambda: handle.ready)
        os.kill(handle.pid, signal.SIGKILL)
        end = loop.time() + 5
        while not listener.deaths and loop.time() < end:
            handle.send(Probe(1))
            await asyncio.sleep(0)
        assert listener.deaths


@pytest.mark.parametrize(
    ("test", "limit_s", "why"),
    [
        (
            "channel.send([Tested('7 numbers wrong')]); sys.exit(EXIT_SELF_TEST)",
            20.0,
            "7 numbers wrong",
        ),
        ("time.sleep(60)", 0.5, "did not end within 0.5 s"),
        ("os.abort()", 20.0, "ended in it"),
    ],
)
async def test_after_two_deaths_the_device_is_tested_until_it_passes(
    child, tmp_path, monkeypatch, test, limit_s, why
):
    monkeypatch.setattr("worker.engine_handle.TEST_LIMIT_S", limit_s)
    script = f"""
    if load.self_test:
        channel.send([Testing()])
        if not os.path.exists({str(tmp_path / "well")!r}):
            {test}
        channel.send([Tested("")])
    {ECHO.strip().replace(chr(10), chr(10) + "    ")}
    """
    async with alive(child(script)) as (handle, listener):
        for life in (1, 2):
            await until(lambda life=life: handle.ready and handle.life == life)
            os.kill(handle.pid, signal.SIGSEGV)
        await until(lambda: len(listener.deaths) == 4)
        assert (handle.state, listener.loads) == (EngineState.FAILED, 2)
        assert handle.reason.startswith("the device failed its self-test: ")
        assert why in handle.reason
        (tmp_path / "well").touch()
        await until(lambda: handle.ready)
