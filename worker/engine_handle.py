"""Keeps an engine alive: spawns it, watches it, kills it, and spawns the next."""

import asyncio
import contextlib
import signal
from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Protocol

from telemetry import logs
from worker.aftermath import Death
from worker.backoff import Backoff
from worker.engine_process import ENGINE_COMMAND, EngineProcess
from worker.wire import (
    EXIT_FATAL,
    EXIT_LOAD_FAILED,
    Fatal,
    Load,
    Loaded,
    LoadFailed,
    Stop,
    ToEngine,
    ToFeeder,
)

LONGEST_PAUSE_S = 60.0
#: seconds between two looks at a process that the kernel does not let go
STUCK_LOOK_S = 1.0

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
        self.state = EngineState.LOADING
        self.reason = ""
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
            self.state, self.reason = EngineState.LOADING, "the model is being loaded"
        self.life += 1
        process = self._process = await EngineProcess.spawn(self._command)
        log.info("engine_spawned", engine_pid=process.pid, life=self.life)
        if self._stopping:
            process.kill("worker_ends")
        else:
            process.send(self._load())
        exit_code = await process.listen(lambda frames: self._hear(frames, listener))
        served = self.state is EngineState.READY
        death = Death(_reason(exit_code, process.killed_for), _ordered(process), exit_code, served)
        tell = log.info if self._stopping else log.warning
        tell("engine_died", reason=death.reason, exit_code=exit_code, why=self.reason)
        if self.state is EngineState.READY:
            self.state, self.reason = EngineState.LOADING, f"the engine ended: {death.reason}"
        elif self.state is EngineState.LOADING and not self._stopping:
            self.state = EngineState.FAILED
            self.reason = f"the engine ended while it loaded the model: {death.reason}"
        listener.died(death)
        if exit_code is None:
            self.state, self.reason = EngineState.FAILED, "the engine is stuck in the driver"
            # Another engine beside it would find no memory left on the GPU.
            while not self._stopping and not await process.gone(STUCK_LOOK_S):
                pass
        self._process = None
        return death

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
                listener.loaded(frame)
            elif isinstance(frame, LoadFailed):
                self.state, self.reason = EngineState.FAILED, frame.detail
                log.error("model_load_failed", code=frame.code, detail=frame.detail)
            elif isinstance(frame, Fatal):
                log.error("engine_fatal", detail=frame.detail)
                self.reason = frame.detail
        listener.heard(frames)

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
    if exit_code is not None and exit_code < 0:
        with contextlib.suppress(ValueError):
            return signal.Signals(-exit_code).name.lower()
    return f"exit_{exit_code}"


def _ordered(process: EngineProcess) -> bool:
    return process.killed_for in {"cancel", "timeout", "drain", "buried", "worker_ends"}
