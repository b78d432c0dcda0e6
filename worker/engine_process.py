"""One life of the engine process: spawned, listened to, killed if need be."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Callable, Sequence

from telemetry import logs
from worker.channel import BrokenStream, FeederChannel
from worker.stacks import StackFile
from worker.wire import ToEngine, ToFeeder

#: seconds that an engine has to write down its stacks before it is killed, and between two looks
#: at what it has written: it is done when there is no more than the last time
DUMP_S = 0.3
DUMP_LOOK_S = 0.02
#: seconds an engine has to exit after it hung up, and its stream to end after it exited
PARTING_S = 2.0
#: seconds after SIGKILL when a process counts as gone although the kernel keeps it: it is stuck
#: in the driver and will never run an instruction of ours again
STUCK_S = 30.0

ENGINE_COMMAND = (sys.executable, "-P", "-m", "worker.engine")

log = logs.get("worker.engine_process")


class EngineProcess:
    """The child and the channel to it."""

    def __init__(
        self, process: asyncio.subprocess.Process, channel: FeederChannel, stacks: StackFile
    ) -> None:
        self._process = process
        self._channel = channel
        #: open until `listen` has ended and who called it has read them
        self.stacks = stacks
        self._exited = asyncio.ensure_future(process.wait())
        self._killing: asyncio.Task[None] | None = None
        #: why the feeder killed it; None while it did not
        self.killed_for: str | None = None

    @classmethod
    async def spawn(cls, command: Sequence[str] = ENGINE_COMMAND) -> "EngineProcess":
        """Start the child with one end of a new socketpair."""
        ours, theirs = socket.socketpair()
        with theirs, contextlib.ExitStack() as failed:
            failed.callback(ours.close)
            stacks = StackFile()
            failed.callback(stacks.close)
            # A session of its own: Ctrl-C on the terminal is for the feeder, which drains,
            # and the group can be killed with all that the model may have forked.
            process = await asyncio.create_subprocess_exec(
                *command,
                "--stacks",
                str(stacks.fileno()),
                "--fd",
                str(theirs.fileno()),
                pass_fds=(theirs.fileno(), stacks.fileno()),
                stdin=asyncio.subprocess.DEVNULL,
                start_new_session=True,
            )
            failed.pop_all()
        return cls(process, await FeederChannel.open(ours), stacks)

    @property
    def pid(self) -> int:
        """The child's process id, which is its group's too."""
        return self._process.pid

    def send(self, *frames: ToEngine) -> None:
        """Queue frames for the child."""
        self._channel.send(*frames)

    async def listen(self, hear: Callable[[list[ToFeeder]], None]) -> int | None:
        """Pass on all it says until it is gone; its exit code, None if the kernel keeps it."""
        reading = asyncio.ensure_future(self._read(hear))
        try:
            await asyncio.wait({reading, self._exited}, return_when=asyncio.FIRST_COMPLETED)
            # What it said just before its death still counts; but a grandchild may keep the
            # stream open for ever, and a process that hung up may not exit.
            await asyncio.wait({reading, self._exited}, timeout=PARTING_S)
            if not self._exited.done():
                self.kill("hung_up" if self.killed_for is None else self.killed_for)
                await self.gone()
        finally:
            reading.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await reading
            await self._bury()
        return self._exited.result() if self._exited.done() else None

    async def _read(self, hear: Callable[[list[ToFeeder]], None]) -> None:
        try:
            while frames := await self._channel.receive():
                hear(frames)
        except BrokenStream as error:
            log.error("engine_stream_broken", why=str(error))  # noqa: TRY400 - its text says all
            self.kill("broken_stream")

    def kill(self, reason: str) -> None:
        """Have it write down the stacks of all its threads, then end it; again is fine."""
        if self.killed_for is None:
            self.killed_for = reason
            self._killing = asyncio.ensure_future(self._kill())

    async def _kill(self) -> None:
        self.stacks.expect()
        self._signal(signal.SIGUSR1)
        loop, seen = asyncio.get_running_loop(), 0
        # By the clock, not by looks: each of them is late where the machine is busy.
        end = loop.time() + DUMP_S
        while loop.time() < end:
            await asyncio.wait({self._exited}, timeout=DUMP_LOOK_S)
            before, seen = seen, self.stacks.size
            if self._exited.done() or 0 < seen == before:
                break
        self._signal(signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        if self._exited.done():
            return
        with contextlib.suppress(ProcessLookupError):
            if number is signal.SIGKILL:
                os.killpg(self.pid, number)
            else:
                self._process.send_signal(number)

    async def gone(self, limit_s: float = STUCK_S) -> bool:
        """Wait until the kernel has let it go; False if it has not by then."""
        await asyncio.wait({self._exited}, timeout=limit_s)
        return self._exited.done()

    async def _bury(self) -> None:
        if self._killing is not None:
            await self._killing
        if not self._exited.done():
            self._signal(signal.SIGKILL)
        self._channel.close()
