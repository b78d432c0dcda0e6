"""The settings of a worker process; what each does stands in telemetry/settings.py."""

from pathlib import Path
from typing import Annotated

from pydantic import Field

from telemetry.settings import HeadraceSettings

Positive = Annotated[float, Field(gt=0)]
Port = Annotated[int, Field(ge=0, le=65535)]


class WorkerSettings(HeadraceSettings):
    """Read once, in worker/main.py."""

    redis_url: str = "redis://127.0.0.1:6379/0"
    namespace: str = "hr"
    durability: str = "always"
    result_ttl_s: Positive = 3600
    dead_ttl_s: Positive = 7 * 86400
    max_queue_age_s: Positive = 7 * 86400
    max_queue_depth: Annotated[int, Field(gt=0)] = 1_000_000
    beat_limit_s: Positive = 10
    max_attempts: Annotated[int, Field(ge=1)] = 3
    max_crashes: Annotated[int, Field(ge=1)] = 3
    drain_s: Annotated[float, Field(ge=0)] = 30
    pinned_only: bool = False
    data_dir: Path = Path(".headrace")
    worker_port: Port | None = None
    probe_host: str = "127.0.0.1"
    worker_name: str | None = None
    device: Annotated[str, Field(pattern=r"^(auto|cpu|mps|cuda(:\d+)?)$")] = "auto"
    engine_threads: Annotated[int, Field(ge=1)] | None = None
    max_result_bytes: Annotated[int, Field(gt=0)] = 256 * 1024
    cancel_grace_s: Annotated[float, Field(ge=0)] = 10
