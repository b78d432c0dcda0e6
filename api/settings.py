"""The settings of the API process, read once at its top."""

from __future__ import annotations

import ipaddress
from pathlib import Path
from typing import Annotated, Literal

from pydantic import (
    Field,
    NonNegativeFloat,
    PositiveFloat,
    PositiveInt,
    SecretStr,
)

from egress.settings import EgressSettings
from jobs.policy import QueueOptions
from telemetry.settings import DAY_S, CommaList

Port = Annotated[int, Field(ge=0, le=65535)]


class ApiSettings(EgressSettings):
    """What the API reads from `HEADRACE_*`; docs/settings.md says what each one does."""

    redis_url: str = "redis://127.0.0.1:6379/0"
    namespace: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,64}$")] = "hr"
    durability: Literal["always", "everysec", "replicated"] = "always"
    result_ttl_s: PositiveFloat = 3600
    dead_ttl_s: PositiveFloat = 7 * DAY_S
    max_queue_age_s: PositiveFloat = 7 * DAY_S
    max_queue_depth: PositiveInt = 1_000_000
    beat_limit_s: PositiveFloat = 10
    max_attempts: PositiveInt = 3
    max_crashes: PositiveInt = 3
    drain_s: NonNegativeFloat = 30
    metrics_port: Port | None = None
    api_host: str = "127.0.0.1"
    api_port: Port = 8000
    api_workers: PositiveInt = 1
    insecure: bool = False
    keys_file: Path | None = None
    max_body_bytes: PositiveInt = 1024 * 1024
    max_wait_s: NonNegativeFloat = 60
    require_models: CommaList = ()
    cors_origins: CommaList = ()
    docs: Literal["auto", "open", "off"] = "auto"
    webhook_secret: SecretStr | None = None

    def queue_options(self) -> QueueOptions:
        """Return the numbers that the queue's scripts need."""
        return QueueOptions(
            result_ttl_s=self.result_ttl_s,
            dead_ttl_s=self.dead_ttl_s,
            max_queue_age_s=self.max_queue_age_s,
            max_queue_depth=self.max_queue_depth,
            beat_limit_s=self.beat_limit_s,
            max_attempts=self.max_attempts,
            max_crashes=self.max_crashes,
        )

    @property
    def may_be_open(self) -> bool:
        """Whether the API may listen although no key exists: on loopback, or where told to."""
        return self.insecure or is_loopback(self.api_host)

    @property
    def may_answer_anybody(self) -> bool:
        """Whether requests need no key while none exists; a keys file says that they do."""
        return self.may_be_open and self.keys_file is None


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach that address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False
