"""Every setting there is, in one table, and the base class that reads a process's share of it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "HEADRACE_"

DAY_S = 24 * 3600


class SettingsError(ValueError):
    """A setting is unknown or has a value that cannot be used; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its default, the processes that read it, and what it does."""

    default: object
    process: str
    doc: str


#: Name without the prefix -> setting. `queue` stands for every process that talks to Redis.
SETTINGS: dict[str, Setting] = {
    "REDIS_URL": Setting("redis://127.0.0.1:6379/0", "queue", "The Redis that holds the queue."),
    "NAMESPACE": Setting("hr", "queue", "First part of every key in Redis."),
    "DURABILITY": Setting("always", "queue", "What a 202 means: always, everysec, replicated."),
    "RESULT_TTL_S": Setting(3600, "queue", "How long a finished job is kept."),
    "DEAD_TTL_S": Setting(7 * DAY_S, "queue", "How long a failed job is kept."),
    "MAX_QUEUE_AGE_S": Setting(7 * DAY_S, "queue", "A job queued for longer expires."),
    "MAX_QUEUE_DEPTH": Setting(1_000_000, "queue", "Queued jobs a model may have."),
    "BEAT_LIMIT_S": Setting(10, "queue", "A worker silent for longer is taken for dead."),
    "MAX_ATTEMPTS": Setting(3, "queue", "Attempts at a job whose error is retryable."),
    "MAX_CRASHES": Setting(3, "queue", "Engine deaths alone with a job before it is poisoned."),
    "DRAIN_S": Setting(30, "queue", "Time that running work gets after SIGTERM."),
    "LOG_FORMAT": Setting("auto", "every", "json, console, or auto: console on a terminal."),
    "LOG_LEVEL": Setting("info", "every", "debug, info, warning or error."),
    "METRICS_PORT": Setting(None, "api", "Port of the API's /metrics. Unset: not served."),
    "API_HOST": Setting("127.0.0.1", "api", "Address the API listens on."),
    "API_PORT": Setting(8000, "api", "Port the API listens on."),
    "API_WORKERS": Setting(1, "api", "HTTP worker processes."),
    "INSECURE": Setting(False, "api", "Listen off loopback although no key exists."),
    "KEYS_FILE": Setting(None, "api", "File with the first API keys."),
    "MAX_BODY_BYTES": Setting(1024 * 1024, "api", "Largest request body."),
    "MAX_WAIT_S": Setting(60, "api", "Longest time a request may wait for a result."),
    "REQUIRE_MODELS": Setting((), "api", "Models that need a ready worker for a healthy API."),
    "CORS_ORIGINS": Setting((), "api", "Origins that browsers may call from."),
    "DOCS": Setting("auto", "api", "Who may read /docs: open, off, or auto: all while no key is."),
    "WORKER_PORT": Setting(None, "worker", "Port of the worker's probes and metrics."),
    "WORKER_NAME": Setting(None, "worker", "Name of the worker; by default host, model and GPU."),
    "DEVICE": Setting("auto", "worker", "auto, cuda, cuda:N, mps or cpu."),
    "ENGINE_THREADS": Setting(None, "worker", "CPU threads of the engine; by default the cores."),
    "MAX_RESULT_BYTES": Setting(256 * 1024, "worker", "Largest output of a job."),
    "CANCEL_GRACE_S": Setting(10, "worker", "Time a canceled batch gets before the engine dies."),
    "DATA_DIR": Setting(".headrace", "up", "Where `headrace up` keeps its Redis and its locks."),
    "URL": Setting("http://127.0.0.1:8000", "client", "The server that the commands talk to."),
    "API_KEY": Setting(None, "client", "The API key that the commands send."),
}


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


#: A setting that is a list: written with commas in the environment.
CommaList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]


def refuse_unknown(environ: Mapping[str, str]) -> None:
    """Raise SettingsError for a HEADRACE_ variable that no process knows: a typo does nothing."""
    for name in sorted(environ):
        if not name.startswith(PREFIX) or name.removeprefix(PREFIX) in SETTINGS:
            continue
        nearest = difflib.get_close_matches(name.removeprefix(PREFIX), SETTINGS, n=1)
        hint = (
            f" Did you mean {PREFIX}{nearest[0]}?"
            if nearest
            else " docs/settings.md lists them all."
        )
        raise SettingsError(f"{name} is not a setting.{hint}")


class HeadraceSettings(BaseSettings):
    """What every process reads. Built once, at the top of a process, and handed down."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, extra="forbid", frozen=True)

    log_format: str = "auto"
    log_level: str = "info"

    @classmethod
    def read(cls, **given: Any) -> Self:
        """Read the environment under what was `given`; SettingsError names what is wrong."""
        refuse_unknown(os.environ)
        try:
            return cls(**given)
        except ValidationError as error:
            raise SettingsError(_explain(error)) from error


def _explain(error: ValidationError) -> str:
    lines = []
    for item in error.errors(include_url=False, include_context=False):
        name = PREFIX + "_".join(str(part) for part in item["loc"]).upper()
        lines.append(f"{name}: {item['msg']} (got {item['input']!r})")
    return "\n".join(lines)
