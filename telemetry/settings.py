"""Every setting there is, in one table, and the base class that reads a process's share of it."""

from __future__ import annotations

import difflib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Self

from pydantic import BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

PREFIX = "HEADRACE_"

DAY_S = 24 * 3600


class SettingsError(ValueError):
    """A setting is unknown or has a value that cannot be used; the text says which and why."""


@dataclass(frozen=True, slots=True)
class Setting:
    """One setting: its default, which processes read it, and what it does."""

    default: object
    read_by: tuple[str, ...]
    doc: str


_QUEUE = ("api", "worker")
_ALL = ("api", "worker", "webhooks", "up")
_KEPT = ("api", "worker", "webhooks")
_TOLD = ("api", "webhooks")
_WEBHOOKS = ("webhooks",)
_API = ("api",)
_WORKER = ("worker",)
_CLIENT = ("client",)

#: Name without the prefix -> setting.
SETTINGS: dict[str, Setting] = {
    "REDIS_URL": Setting("redis://127.0.0.1:6379/0", _ALL, "The Redis that holds the queue."),
    "NAMESPACE": Setting("hr", _ALL, "First part of every key in Redis."),
    "DURABILITY": Setting("always", _ALL, "What a 202 means: always, everysec, replicated."),
    "RESULT_TTL_S": Setting(3600, _KEPT, "How long a finished job is kept."),
    "DEAD_TTL_S": Setting(7 * DAY_S, _KEPT, "How long a failed job is kept."),
    "MAX_QUEUE_AGE_S": Setting(7 * DAY_S, _KEPT, "A job queued for longer expires."),
    "MAX_QUEUE_DEPTH": Setting(1_000_000, _QUEUE, "Queued jobs a model may have."),
    "BEAT_LIMIT_S": Setting(10, _QUEUE, "A worker silent for longer is taken for dead."),
    "MAX_ATTEMPTS": Setting(3, _QUEUE, "Attempts at a job whose error is retryable."),
    "MAX_CRASHES": Setting(3, _QUEUE, "Engine deaths with a job before it is poisoned."),
    "DRAIN_S": Setting(30, _ALL, "Time that running work gets after SIGTERM."),
    "PINNED_ONLY": Setting(False, ("worker",), "Only for clients who pin this version of a model."),
    "LOG_FORMAT": Setting("auto", _ALL, "json, console, or auto: console on a terminal."),
    "LOG_LEVEL": Setting("info", _ALL, "debug, info, warning or error."),
    "API_HOST": Setting("127.0.0.1", ("api", "up"), "Address the API listens on."),
    "API_PORT": Setting(8000, ("api", "up"), "Port the API listens on."),
    "API_WORKERS": Setting(1, ("api", "up"), "HTTP worker processes."),
    "INSECURE": Setting(False, ("api", "up"), "Listen off loopback although no key exists."),
    "METRICS_PORT": Setting(None, _TOLD, "Port of /metrics. Unset: not served."),
    "PROBE_HOST": Setting(
        "127.0.0.1", ("worker", "webhooks"), "Address of their health and metrics."
    ),
    "KEYS_FILE": Setting(None, _API, "File with the first API keys."),
    "MAX_BODY_BYTES": Setting(1024 * 1024, _API, "Largest request body."),
    "MAX_WAIT_S": Setting(60, _API, "Longest time a request may wait for a result."),
    "REQUIRE_MODELS": Setting((), _API, "Models that need a ready worker for a healthy API."),
    "CORS_ORIGINS": Setting((), _API, "Origins that browsers may call from."),
    "DOCS": Setting("auto", _API, "Who may read /docs: open, off, or auto: all while no key is."),
    "WORKER_PORT": Setting(None, ("worker", "up"), "Port of the worker's probes and metrics."),
    "WORKER_NAME": Setting(None, _WORKER, "Name of the worker; by default host, model and GPU."),
    "DEVICE": Setting("auto", _WORKER, "auto, cuda, cuda:N, mps or cpu."),
    "ENGINE_THREADS": Setting(None, _WORKER, "CPU threads of the engine; by default the cores."),
    "MAX_RESULT_BYTES": Setting(256 * 1024, _WORKER, "Largest output of a job."),
    "CANCEL_GRACE_S": Setting(10, _WORKER, "Time a canceled batch gets before the engine ends."),
    "RQ_REDIS_URL": Setting(
        None, ("webhooks", "up"), "The Redis of RQ, which times retries; by default REDIS_URL."
    ),
    "WEBHOOK_SECRET": Setting(None, _TOLD, "Signs webhooks of tenants without a secret."),
    "WEBHOOK_ALLOW": Setting(
        None, ("api", "webhooks", "up"), "Receivers that may be called although not public."
    ),
    "WEBHOOK_DENY": Setting((), _TOLD, "Public networks that may not be called."),
    "WEBHOOK_PORTS": Setting((443,), _TOLD, "Ports of receivers that may be called."),
    "WEBHOOK_TIMEOUT_S": Setting(15, _WEBHOOKS, "Time a receiver has to answer."),
    "WEBHOOK_DELAY_SCALE": Setting(1.0, _WEBHOOKS, "Factor of all delays between tries."),
    "DATA_DIR": Setting(".headrace", ("worker", "up"), "Where Redis, locks and logs are kept."),
    "URL": Setting("http://127.0.0.1:8000", _CLIENT, "The server that the commands talk to."),
    "API_KEY": Setting(None, _CLIENT, "The API key that the commands send."),
}


def _split(value: object) -> object:
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    return value


#: A setting that is a list: written with commas in the environment.
CommaList = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
#: One that may be unset, which is not the same as empty.
CommaListOrUnset = Annotated[tuple[str, ...] | None, NoDecode, BeforeValidator(_split)]
#: A list of ports.
Ports = Annotated[
    tuple[Annotated[int, Field(ge=1, le=65535)], ...], NoDecode, BeforeValidator(_split)
]


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
