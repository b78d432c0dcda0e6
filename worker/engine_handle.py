"""Keeps an engine alive: spawns it, watches it, kills it, and spawns the next."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Protocol

from msgspec.structs import replace

from telemetry import logs
from worker.aftermath import Death
from worker.backoff import Backoff
from worker.engine_process import ENGINE_COMMAND, EngineProcess
from worker.suspicion import TEST_LIMIT_S, Suspicion
from worker.wire import (
    EXIT_FATAL,
    EXIT_LOAD_FAILED,
    EXIT_SELF_TEST,
    Fatal,
    Load,
    Loaded,
    LoadFailed,
    Stop,
    Tested,
    Testing,
    ToEngine,
    ToFeeder,
)

LONGEST_PAUSE_S = 60.0
#: seconds between two looks at a process that the kernel does not let go
STUCK_LOOK_S = 1.0

LOADING = "the model is being loaded"

log = logs.get("worker.engine_handle")


class EngineState(StrEnum):
    """Whether jobs can be fed."""

    LOADING = "loading"
    READY = "ready"
    FAILED = "failed"


class EngineListener(Protocol):
    """Who is told what the engine says, and that it died."""

    def heard(self, frames: list[ToFeeder]) -> None:
        """Frames arrived from an engine that lives."""

    def loaded(self, loaded: Loaded) -> None:
        """The engine may be fed from now on."""

    def died(self, death: Death) -> None:
        """The engine is off the GPU; the next one is not there yet."""


class EngineHandle:
    """One engine after another, for as long as the worker lives."""

    def __init__(
        self,
        load: Callable[[], Load],
        command: Sequence[str] = ENGINE_COMMAND,
    ) -> None:
        self._load = load
        self._command = command
        self._process: EngineProcess | None = None
        self._stopping = False
        self._stop_asked = asyncio.Event()
        # A death while it served is tried again at once: the model did load a moment ago.
        self._deaths = Backoff(1.0, LONGEST_PAUSE_S, free=1)
        self._failed_loads = Backoff(1.0, LONGEST_PAUSE_S)
        self._suspicion = Suspicion()
        self._test_limit: asyncio.TimerHandle | None = None
        #: where the model was loaded first: an engine whose GPU has gone must not go on elsewhere
        self._device = ""
        self.state = EngineState.LOADING
        self.reason = ""
        #: what the engine said of its end before it came
        self._last_words = ""
        #: counts the engines; what was begun under another number is gone
        self.life = 0

    @property
    def ready(self) -> bool:
        """Whether jobs can be fed now."""
        return self.state is EngineState.READY and not self.dying

    @property
    def dying(self) -> bool:
        """Whether it has been killed and is not gone yet."""
        return self._process is not None and self._process.killed_for is not None

    @property
    def pid(self) -> int | None:
        """The process id of the engine that lives."""
        return None if self._process is None else self._process.pid

    def send(self, *frames: ToEngine) -> None:
        """Queue frames; one that is gone does not mind."""
        if self._process is not None:
            self._process.send(*frames)

    def proved_good(self) -> None:
        """A batch went through: the next death is a first one again."""
        self._deaths.reset()

    def kill(self, reason: str) -> None:
        """End the engine now; `died` follows."""
        if self._process is not None and not self.dying:
            log.warning("engine_killed", reason=reason, engine_pid=self._process.pid)
            self._process.kill(reason)

    async def run(self, listener: EngineListener) -> None:
        """Spawn, watch and spawn again until stopped."""
        try:
            while not self._stopping:
                death = await self._one_life(listener)
                if not self._stopping:
                    await self._pause(death)
        finally:
            if self._process is not None:
                self._process.kill("worker_ends")
                await self._process.gone()

    async def _one_life(self, listener: EngineListener) -> Death:
        if self.state is not EngineState.FAILED:
            # A model that failed to load stays failed for the world until it has loaded.
            self.state, self.reason = EngineState.LOADING, LOADING
        self.life += 1
        process = self._process = await EngineProcess.spawn(self._command)
        log.info("engine_spawned", engine_pid=process.pid, life=self.life)
        if self._stopping:
            process.kill("worker_ends")
        else:
            process.send(self._order())
        self._last_words = ""
        exit_code = await process.listen(lambda frames: self._hear(frames, listener))
        if self._test_limit is not None:
            self._tested("the engine ended in it")
        death = self._told_of(process, exit_code)
        if death.served:
            self.state, self.reason = EngineState.LOADING, f"the engine ended: {death.reason}"
        elif self.state is EngineState.LOADING and not self._stopping:
            self.state = EngineState.FAILED
            how = f"{death.reason}: {self._last_words}" if self._last_words else death.reason
            self.reason = f"the engine ended while it loaded the model: {how}"
        self._suspicion.died(death)
        listener.died(death)
        if exit_code is None:
            self.state, self.reason = EngineState.FAILED, "the engine is stuck in the driver"
            # Another engine beside it would find no memory left on the GPU.
            while not self._stopping and not await process.gone(STUCK_LOOK_S):
                pass
        self._process = None
        return death

    def _order(self) -> Load:
        load = self._load()
        return replace(
            load, device=self._device or load.device, self_test=self._suspicion.test_first
        )

    def _told_of(self, process: EngineProcess, exit_code: int | None) -> Death:
        """Its death, with all that is known of it; each is a line of the log."""
        reason = _reason(exit_code, process.killed_for)
        stacks = process.stacks.read(self._load().path)
        process.stacks.close()
        tell = log.info if self._stopping else log.warning
        tell("engine_died", reason=reason, exit_code=exit_code, why=self._last_words or self.reason)
        if stacks:
            tell("engine_stacks", reason=reason, engine_pid=process.pid, stacks=stacks)
        return Death(
            reason,
            _ordered(process),
            exit_code,
            served=self.state is EngineState.READY,
            detail="\n\n".join(each for each in (self._last_words, stacks) if each),
        )

    async def _pause(self, death: Death) -> None:
        if not death.served:
            pause_s = self._failed_loads.next_s()
        elif death.ordered and death.reason in {"cancel", "timeout"}:
            pause_s = 0.0
        else:
            pause_s = self._deaths.next_s()
        if pause_s:
            log.info("engine_respawn_waits", pause_s=pause_s)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_s):
                    await self._stop_asked.wait()

    def _hear(self, frames: list[ToFeeder], listener: EngineListener) -> None:
        for frame in frames:
            if isinstance(frame, Loaded):
                self.state, self.reason = EngineState.READY, ""
                self._failed_loads.reset()
                self._device = frame.device
                listener.loaded(frame)
            elif isinstance(frame, Testing | Tested):
                self._hear_test(frame)
            elif isinstance(frame, LoadFailed):
                self.state, self.reason = EngineState.FAILED, frame.detail
                self._last_words = frame.detail
                log.error("model_load_failed", code=frame.code, detail=frame.detail)
            elif isinstance(frame, Fatal):
                log.error("engine_fatal", detail=frame.detail)
                self._last_words = frame.detail
        listener.heard(frames)

    def _hear_test(self, frame: Testing | Tested) -> None:
        if isinstance(frame, Testing):
            loop = asyncio.get_running_loop()
            self._test_limit = loop.call_later(TEST_LIMIT_S, self._test_overdue)
        else:
            self._tested(frame.failure)

    def _test_overdue(self) -> None:
        self._tested(f"it did not end within {TEST_LIMIT_S:g} s")
        self.kill("self_test")

    def _tested(self, failure: str) -> None:
        if self._test_limit is not None:
            self._test_limit.cancel()
            self._test_limit = None
        self._suspicion.tested(passed=not failure)
        if failure:
            self.state = EngineState.FAILED
            self.reason = f"the device failed its self-test: {failure}"
            self._last_words = self.reason
        else:
            self.state, self.reason = EngineState.LOADING, LOADING

    async def stop(self, grace_s: float) -> None:
        """Let the engine finish what it may run, then end it; no other follows."""
        self._stopping = True
        self._stop_asked.set()
        process = self._process
        if process is None:
            return
        process.send(Stop())
        if not await process.gone(grace_s):
            process.kill("worker_ends")
            await process.gone()


def _reason(exit_code: int | None, killed_for: str | None) -> str:
    """One word for logs and metrics."""
    if killed_for is not None:
        return killed_for
    if exit_code == EXIT_FATAL:
        return "fatal"
    if exit_code == EXIT_LOAD_FAILED:
        return "load_failed"
    if exit_code == EXIT_SELF_TEST:
        return "self_test"
    if exit_code is not None and exit_code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-exit_code).name.lower()
    return f"exit_{exit_code}"


def _ordered(process: EngineProcess) -> bool:
    return process.killed_for in {"cancel", "timeout", "drain", "buried", "worker_ends"}
