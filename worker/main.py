"""The worker process: one model folder, one feeder, one engine."""

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING

import uvloop

from jobs.cards import CardStore
from jobs.connection import RedisConnections
from jobs.errors import WrongRedis
from model_store.errors import ModelFolderError
from model_store.manifest import Manifest, read_manifest
from telemetry import logs, traces
from telemetry.exposition import Exposition
from telemetry.probes import ProbeServer
from telemetry.settings import SettingsError
from worker.assembly import build_station, default_name, trace
from worker.beats import NameTaken
from worker.card_command import NotPublished, publish_cards
from worker.health import probes
from worker.learned import LearnedFile
from worker.life import Worker
from worker.lock import AlreadyRunning, FolderRefused, engine_lock
from worker.settings import WorkerSettings
from worker.several import end_with, run_several

if TYPE_CHECKING:
    from telemetry.otlp import Traces

EXIT_DONE, EXIT_FAILED, EXIT_USAGE = 0, 1, 2

log = logs.get("worker.main")


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the model folders until told to stop; the exit code."""
    parser = argparse.ArgumentParser(prog="headrace worker", description="Serve model folders.")
    parser.add_argument("folders", nargs="+", metavar="DIR", help="a model folder")
    parser.add_argument(
        "--publish-cards",
        action="store_true",
        help="make the models known, so that they take jobs, and end; needs no GPU",
    )
    parser.add_argument(
        "--within", type=float, default=60.0, metavar="S", help="how long Redis is waited for"
    )
    parser.add_argument("--child-of", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    folders: list[str] = given.folders
    if given.child_of is not None:
        end_with(given.child_of)
    try:
        settings = WorkerSettings.read()
        traces.check()
        manifests = [read_manifest(folder) for folder in folders]
    except (SettingsError, ModelFolderError, traces.TracingRefused) as error:
        _complain(error)
        return EXIT_USAGE
    logs.configure(settings.log_format, process="worker", level=settings.log_level)
    if given.publish_cards:
        return _publish(settings, manifests, given.within)
    if len(manifests) > 1:
        # One process for each: a fault of one model's feeder is not the others'.
        paths = [manifest.path for manifest in manifests]
        return asyncio.run(run_several(paths, settings.worker_port))
    return _serve_one(settings, manifests[0])


def _serve_one(settings: WorkerSettings, manifest: Manifest) -> int:
    # A block for groups of exceptions cannot return.
    code = EXIT_FAILED
    try:
        with (
            traces.opened("worker") as tracing,
            asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner,
        ):
            code = EXIT_DONE if runner.run(serve(settings, manifest, tracing)) else EXIT_FAILED
    except* (WrongRedis, FolderRefused, traces.TracingRefused) as errors:
        _complain(errors.exceptions[0])
        code = EXIT_USAGE
    except* (AlreadyRunning, NameTaken) as errors:
        _complain(errors.exceptions[0])
    except* Exception:  # the top of the process: whatever it was, it is one event of the log
        log.exception("worker_failed")
    return code


def _publish(settings: WorkerSettings, manifests: Sequence[Manifest], within_s: float) -> int:
    try:
        asyncio.run(publish_cards(settings, manifests, within_s))
    except (ModelFolderError, WrongRedis) as error:
        _complain(error)
        return EXIT_USAGE
    except NotPublished as error:
        _complain(error)
        return EXIT_FAILED
    return EXIT_DONE


def _complain(error: BaseException) -> None:
    sys.stderr.write(f"{error}\n")


async def serve(
    settings: WorkerSettings, manifest: Manifest, tracing: "Traces | None" = None
) -> bool:
    """Run one worker until it is told to stop; False if it could not end in order."""
    # What is entered last ends first: probes answer until the worker has ended, and the lock is
    # held until its engine is gone.
    async with AsyncExitStack() as stack:
        stack.enter_context(engine_lock(settings.data_dir, manifest.name, settings.device))
        name = settings.worker_name or default_name(settings, manifest.name)
        logs.bind(worker=name, model=manifest.name, version=manifest.version)
        connections = RedisConnections(
            settings.redis_url, namespace=settings.namespace, durability=settings.durability
        )
        await stack.enter_async_context(connections)
        exposition = Exposition()
        learned = LearnedFile(settings.data_dir, manifest.name, manifest.version, settings.device)
        station = build_station(settings, manifest, name, connections, learned, exposition.metrics)
        if tracing is not None:
            trace(station, tracing)
        worker = Worker(station, CardStore(connections), learned, connections.verify)
        if settings.worker_port is not None:
            server = ProbeServer(
                settings.worker_port,
                probes(station),
                host=settings.probe_host,
                exposition=exposition,
            )
            await stack.enter_async_context(server)
            log.info("probes_served", port=server.port)
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, worker.stop)
        return await worker.run()
