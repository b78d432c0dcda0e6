"""The engine's life: find the model, load it, warm it up, serve until told to stop."""

import gc
import os
import socket
from dataclasses import replace
from functools import partial
from pathlib import Path
from threading import Thread
from time import monotonic

from model_store.card import card_of
from model_store.errors import ModelFolderError
from model_store.limits import Limits
from model_store.loader import LoadedModel, load_folder
from telemetry import logs
from worker.channel import EngineChannel
from worker.engine import devices
from worker.engine.batcher import Batcher
from worker.engine.child import leave
from worker.engine.context import LoadContext, Reporter
from worker.engine.desk import Desk, Hands
from worker.engine.faults import DeviceLost, text_of
from worker.engine.finish import Finisher
from worker.engine.mailbox import NEVER, Mailbox
from worker.engine.memory import SafeSizes
from worker.engine.outbox import Outbox
from worker.engine.prepare import Preparer
from worker.engine.runner import Runner
from worker.engine.self_test import DeviceFailed, self_test
from worker.engine.timing import BatchTime
from worker.engine.warmup import WarmUp
from worker.wire import (
    EXIT_FATAL,
    EXIT_LOAD_FAILED,
    EXIT_SELF_TEST,
    EXIT_STOPPED,
    Described,
    Fatal,
    Load,
    Loaded,
    LoadFailed,
    Stop,
    Tested,
    Testing,
    ToEngine,
)

log = logs.get(__name__)

MOST_THREADS = 4
#: seconds for results that are being finished when the device is lost
FAREWELL_S = 1.0


class Loading:
    """Listens while the weights are on their way, so that the engine can be told to give up."""

    def __init__(self) -> None:
        self.early: list[ToEngine] = []

    def hear(self, frame: ToEngine) -> None:
        """Nothing runs yet: a stop is at once."""
        if isinstance(frame, Stop):
            leave(EXIT_STOPPED)
        self.early.append(frame)

    def step(self, now: float) -> float:
        """Nothing to be done before the next frame."""
        return NEVER


class Line:
    """The engine's end of the socketpair: what it hears, and how it answers."""

    def __init__(self, end: socket.socket) -> None:
        self.channel = EngineChannel(end)
        self.outbox = Outbox(self.channel)
        self.mailbox = Mailbox(self.channel)
        self.loading = Loading()

    def first(self) -> Load | None:
        """Wait for the model to be named; None when the feeder is gone or wants nothing more."""
        while True:
            frames = self.channel.receive()
            if frames is None or any(isinstance(each, Stop) for each in frames):
                return None
            if frames:
                load, *self.loading.early = frames
                return load if isinstance(load, Load) else None

    def listen(self) -> None:
        """On the mailbox's thread, for good."""
        try:
            self.mailbox.listen(self.loading)
        except BaseException as error:
            self.lost(error)
            raise

    def open(self, desk: Desk) -> None:
        """The desk takes over from the loading."""
        for frame in self.loading.early:
            desk.hear(frame)
        self.mailbox.listener = desk

    def lost(self, error: BaseException) -> None:
        """The device is lost, or the engine has a bug: say so and end."""
        said = text_of(error)
        detail = said if isinstance(error, DeviceLost) else f"{type(error).__name__}: {said}"
        log.error("engine_lost", exc_info=error)
        self.outbox.send(Fatal(detail))
        leave(EXIT_FATAL)


def serve(end: socket.socket) -> int:
    """Serve the model that the feeder names; the exit code."""
    line = Line(end)
    load = line.first()
    if load is None:
        return EXIT_STOPPED
    logs.configure(load.log_format, process="engine")
    logs.bind(model=load.name, version=load.version, worker=load.worker)
    Thread(target=line.listen, name="mailbox", daemon=True).start()
    try:
        if load.only_describe:
            line.outbox.send(Described(card_of(load_folder(load.path), load.shards).to_json()))
        else:
            _serve_model(load, line)
    except ModelFolderError as error:
        log.error("model_not_loaded", detail=error.detail)  # noqa: TRY400 - its sentence says all
        line.outbox.send(LoadFailed(error.code, error.detail))
        return EXIT_LOAD_FAILED
    except DeviceFailed as error:
        log.error("self_test_failed", detail=str(error))  # noqa: TRY400 - its sentence says all
        return EXIT_SELF_TEST
    except BaseException as error:
        line.lost(error)
        raise
    return EXIT_STOPPED


def _serve_model(load: Load, line: Line) -> None:
    began = monotonic()
    model, context = _load(load, line.outbox)
    sizes = SafeSizes(load.safe_sizes, model.limits.max_batch)
    time = BatchTime()
    batcher = _batcher_of(model.limits, sizes, time)
    preparer = Preparer(model, batcher)
    finisher = Finisher(model, load.max_result_bytes)
    learned = WarmUp(model, context, sizes, batcher).run(preparer, finisher, time)
    gc.collect()
    gc.freeze()
    reporter = Reporter(line.outbox)
    runner = Runner(model, context, line.outbox, reporter, sizes)
    hands = Hands(
        mailbox=line.mailbox,
        outbox=line.outbox,
        reporter=reporter,
        preparer=preparer,
        finisher=finisher,
        runner=runner,
        threads=_threads(),
        fatal=line.lost,
    )
    desk = Desk(hands, batcher, time)
    line.outbox.send(*learned, _loaded(load, model, context, monotonic() - began))
    line.mailbox.post(partial(line.open, desk))
    try:
        runner.serve()
    except DeviceLost:
        # What was computed before is not lost with the device.
        hands.close(FAREWELL_S)
        raise
    hands.close(None)


def _load(load: Load, outbox: Outbox) -> tuple[LoadedModel, LoadContext]:
    """Find the model and put its weights on the device."""
    devices.limit_threads(load.threads)
    model = load_folder(load.path)
    outbox.send(Described(card_of(model, load.shards).to_json()))
    for warning in model.warnings:
        log.warning("model_could_be_better", detail=warning)
    try:
        device = devices.choose_device(load.device)
    except devices.DeviceNotThere as error:
        raise ModelFolderError(str(error)) from error
    devices.apply_threads(load.threads)
    if load.self_test:
        _test(device, outbox)
    weights = Path(load.weights) if load.weights else model.manifest.path
    context = LoadContext(device, weights, load.settings)
    try:
        model.members.load(context)
    except BaseException as error:
        log.warning("load_failed", exc_info=error)
        raise model.explain(error, "load") from error
    devices.apply_threads(load.threads)
    return replace(model, limits=model.limits_now()), context


def _test(device: str, outbox: Outbox) -> None:
    outbox.send(Testing())
    try:
        self_test(device)
    except DeviceFailed as error:
        outbox.send(Tested(str(error)))
        raise
    outbox.send(Tested(""))
    log.info("self_test_passed", device=device)


def _batcher_of(limits: Limits, sizes: SafeSizes, time: BatchTime) -> Batcher:
    return Batcher(
        sizes,
        time,
        max_batch=limits.max_batch,
        max_wait_s=limits.max_wait_ms / 1000,
        max_cost=limits.max_cost,
        buckets=limits.buckets,
    )


def _loaded(load: Load, model: LoadedModel, context: LoadContext, seconds: float) -> Loaded:
    return Loaded(
        card=card_of(model, load.shards).to_json(),
        load_s=seconds,
        weights_bytes=devices.weights_bytes(model.instance, context.device, context.weights),
        device=context.device,
        max_batch=model.limits.max_batch,
        max_wait_ms=model.limits.max_wait_ms,
        timeout_s=model.limits.timeout_s,
        retry_backoff_s=model.limits.retry_backoff_s,
    )


def _threads() -> int:
    """Threads that prepare, and as many that finish; more would take the cores from the model."""
    return max(1, min(MOST_THREADS, (os.cpu_count() or 1) // 2))
