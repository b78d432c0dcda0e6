"""The command line and environment of each process of `headrace up`."""

from __future__ import annotations

import functools
import hashlib
import os
import socket
import sys
from dataclasses import dataclass
from pathlib import Path

from headrace.data_folder import DataFolder
from headrace.embedded_redis import RedisServer
from headrace.log_tail import cut_torn_transaction
from headrace.memory import memory_bytes
from headrace.ping import answers
from headrace.settings import UpSettings
from headrace.up.ballast import Ballast
from headrace.up.child import Command
from headrace.up.ports import is_loopback, listens

#: The part of the machine's memory, or of the container's, that the queue may take.
_MEMORY_SHARE = 4
_LEAST_MEMORY = 64 << 20
#: What webhooks may call where nobody has said it.
_LOOPBACK = "127.0.0.0/8,::1,localhost"


@dataclass(frozen=True, slots=True)
class ServedModel:
    """A model folder and the name it is served under."""

    name: str
    folder: Path


def redis_command(
    server: RedisServer, folder: DataFolder, *, durability: str, lock: int
) -> Command:
    """Run Redis on a socket that only this user reaches, writing before it answers."""
    settings = {
        # Without a limit Redis takes no notice of how full it is, until the kernel kills it. The
        # rest is the models', and a rewrite of the log may for a moment need as much again.
        "maxmemory": str(max(_LEAST_MEMORY, memory_bytes() // _MEMORY_SHARE)),
        "port": "0",
        "unixsocket": str(folder.socket),
        "unixsocketperm": "700",
        "dir": str(folder.redis),
        "appendonly": "yes",
        "appendfsync": durability,
        "save": "",
        "maxmemory-policy": "noeviction",
        "maxmemory-clients": "0",
        "daemonize": "no",
    }
    words = [word for name, value in settings.items() for word in (f"--{name}", value)]
    return Command(
        name="redis",
        argv=(server.path, *words),
        environment=os.environ,
        log=folder.logs / "redis.log",
        ready=functools.partial(answers, folder.socket),
        # Held by the server too: its data are not opened twice although this process dies.
        inherit=(lock,),
        prepare=functools.partial(_make_room, Ballast(folder.ballast)),
        before=functools.partial(cut_torn_transaction, folder.redis),
    )


def _make_room(ballast: Ballast) -> str:
    if ballast.release():
        return "the disk is full: its ballast was deleted"
    ballast.keep()
    return ""


def api_command(settings: UpSettings, port: int, models: list[ServedModel]) -> Command:
    """Run the HTTP front, healthy once every model has a ready worker."""
    environment = _environment(settings) | {
        "HEADRACE_API_HOST": settings.api_host,
        "HEADRACE_API_PORT": str(port),
        "HEADRACE_API_WORKERS": str(settings.api_workers),
        "HEADRACE_INSECURE": str(settings.insecure),
        "HEADRACE_REQUIRE_MODELS": ",".join(model.name for model in models),
    }
    return Command(
        name="api",
        argv=(sys.executable, "-P", "-m", "api"),
        environment=environment,
        log=settings.folder.logs / "api.log",
        ready=functools.partial(listens, settings.api_host, port),
    )


def webhooks_command(settings: UpSettings) -> Command:
    """Run what tells receivers of events."""
    environment = _environment(settings)
    # The API on this machine has the port already.
    environment.pop("HEADRACE_METRICS_PORT", None)
    return Command(
        name="webhooks",
        argv=(sys.executable, "-P", "-m", "webhooks"),
        environment=environment,
        log=settings.folder.logs / "webhooks.log",
    )


def worker_command(settings: UpSettings, model: ServedModel, number: int) -> Command:
    """Run the worker of a model folder."""
    environment = _environment(settings) | {"HEADRACE_WORKER_NAME": worker_name(settings, model)}
    if settings.worker_port:
        environment["HEADRACE_WORKER_PORT"] = str(settings.worker_port + number)
    return Command(
        name=f"worker {model.name}",
        argv=(sys.executable, "-P", "-m", "worker", str(model.folder)),
        environment=environment,
        log=settings.folder.logs / f"worker-{model.name}.log",
    )


def worker_name(settings: UpSettings, model: ServedModel) -> str:
    """Return a name that stays the same over restarts, and is nobody else's on that Redis."""
    host = socket.gethostname()
    if settings.redis_url is None:
        return f"{host}-{model.name}"
    digest = hashlib.sha256(os.fsencode(settings.folder.path)).hexdigest()[:6]
    return f"{host}-{digest}-{model.name}"


def _environment(settings: UpSettings) -> dict[str, str]:
    own = {
        "HEADRACE_REDIS_URL": settings.queue_url,
        "HEADRACE_DATA_DIR": str(settings.folder.path),
        "PYTHONUNBUFFERED": "1",
        "PYTHONSAFEPATH": "1",
    }
    if settings.webhook_allow is None and is_loopback(settings.api_host):
        # Who submits is on this machine, and can reach what listens there anyway.
        own["HEADRACE_WEBHOOK_ALLOW"] = _LOOPBACK
    return os.environ | own
