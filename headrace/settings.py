"""The settings of `headrace up`, read once at its top."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, NonNegativeFloat, PositiveInt

from headrace.data_folder import DataFolder
from telemetry.settings import CommaListOrUnset, HeadraceSettings

Port = Annotated[int, Field(ge=0, le=65535)]


class UpSettings(HeadraceSettings):
    """What `headrace up` itself looks at; its processes inherit the rest of the environment."""

    redis_url: str | None = None
    rq_redis_url: str | None = None
    namespace: str = "hr"
    durability: Literal["always", "everysec", "replicated"] = "always"
    data_dir: Path = Path(".headrace")
    api_host: str = "127.0.0.1"
    api_port: Port = 8000
    api_workers: PositiveInt = 1
    insecure: bool = False
    worker_port: Port | None = None
    webhook_allow: CommaListOrUnset = None
    drain_s: NonNegativeFloat = 30

    @property
    def folder(self) -> DataFolder:
        """The data folder, by a path that holds wherever a process runs."""
        return DataFolder(self.data_dir.expanduser().resolve())

    @property
    def queue_url(self) -> str:
        """The Redis that was given, else the one that `headrace up` starts."""
        return self.redis_url or self.folder.redis_url
