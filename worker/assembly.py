"""How settings and a model folder become the parts of one worker."""

import platform
import secrets
import time
from typing import TYPE_CHECKING

from msgspec.structs import replace

from jobs.connection import RedisConnections
from jobs.policy import QueueOptions
from jobs.shards import shards_for_model
from jobs.worker_queue import WorkerQueue
from model_store.manifest import Manifest
from telemetry.metrics import Metrics
from worker.engine_handle import EngineHandle
from worker.learned import LearnedFile
from worker.rules import Rules
from worker.settings import WorkerSettings
from worker.spans import Spans
from worker.station import Station
from worker.timing import BusyShare
from worker.wire import Load

if TYPE_CHECKING:
    from telemetry.otlp import Traces


def default_name(settings: WorkerSettings, model: str) -> str:
    """Host, model, device, and a mark kept in the data folder, whose lock makes it this worker's.

    The same after a restart, so that the life before is buried at once; another for each data
    folder, since two workers of one name would bury each other.
    """
    file = settings.data_dir / "worker-id"
    try:
        mark = file.read_text(encoding="ascii").strip()
    except FileNotFoundError:
        mark = secrets.token_hex(3)
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        file.write_text(f"{mark}\n", encoding="ascii")
    host = platform.node() or "host"
    return "-".join([host, model, settings.device.replace(":", ""), mark])


def build_station(
    settings: WorkerSettings,
    manifest: Manifest,
    name: str,
    connections: RedisConnections,
    learned: LearnedFile,
    metrics: Metrics,
) -> Station:
    """Put the shared parts of a worker together; nothing starts yet."""
    shards = shards_for_model(manifest.name, manifest.shards)
    queue = WorkerQueue(
        connections,
        queue_options(settings),
        model=manifest.name,
        version=manifest.version,
        shards=shards,
        worker=name,
    )

    first = Load(
        path=str(manifest.path),
        name=manifest.name,
        version=manifest.version,
        device=settings.device,
        threads=settings.engine_threads or 0,
        max_result_bytes=settings.max_result_bytes,
        shards=shards,
        log_format=settings.log_format,
        worker=name,
    )
    return Station(
        model=manifest.name,
        version=manifest.version,
        name=name,
        queue=queue,
        # What was learned of memory goes into each engine's first frame as it is by then.
        engine=EngineHandle(lambda: replace(first, safe_sizes=dict(learned.learned.safe_sizes))),
        metrics=metrics,
        rules=Rules(
            max_attempts=settings.max_attempts,
            max_result_bytes=settings.max_result_bytes,
            cancel_grace_s=settings.cancel_grace_s,
            beat_limit_s=settings.beat_limit_s,
            drain_s=settings.drain_s,
            pinned_only=settings.pinned_only,
        ),
        learned=learned.learned,
        timing=learned.timing,
        busy=BusyShare(time.monotonic()),
    )


def trace(station: Station, traces: "Traces") -> None:
    """From now on the worker tells what it does to the traces of its jobs."""
    station.queue.traced = True
    station.spans = Spans(traces, model=station.model, version=station.version, worker=station.name)


def queue_options(settings: WorkerSettings) -> QueueOptions:
    """What the queue has to know of the settings."""
    return QueueOptions(
        result_ttl_s=settings.result_ttl_s,
        dead_ttl_s=settings.dead_ttl_s,
        max_queue_age_s=settings.max_queue_age_s,
        max_queue_depth=settings.max_queue_depth,
        beat_limit_s=settings.beat_limit_s,
        max_attempts=settings.max_attempts,
        max_crashes=settings.max_crashes,
    )
