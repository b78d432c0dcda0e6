"""The API process: check that it may start, then serve with one process or several."""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import os
import shutil
import socket
import sys
import tempfile
from collections.abc import Iterator, Sequence

from api.settings import ApiSettings
from api.supervisor import Supervisor, end_with
from jobs.connection import RedisConnections
from jobs.errors import HeadraceError, QueueUnavailable
from jobs.keystore import KeyStore
from jobs.webhook_secrets import key_of
from telemetry import logs, traces
from telemetry.settings import SettingsError

STARTED_AND_ENDED, STARTUP_FAILURE, USAGE = 0, 1, 2

#: Read by the metrics when they are first imported, so it must be there before the processes are.
_METRICS_DIRECTORY = "PROMETHEUS_MULTIPROC_DIR"

log = logs.get(__name__)


class StartRefused(Exception):
    """The API must not start like this; the text says what to change."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the API until SIGTERM; return the exit code."""
    parser = argparse.ArgumentParser(prog="headrace api", description=__doc__)
    parser.add_argument("--insecure", action="store_true", help="serve without keys off loopback")
    parser.add_argument("--listen-fd", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--child-of", type=int, help=argparse.SUPPRESS)
    given = parser.parse_args(arguments)
    if given.child_of is not None:
        end_with(given.child_of)
    try:
        settings = ApiSettings.read(**({"insecure": True} if given.insecure else {}))
        traces.check()
    except (SettingsError, traces.TracingRefused) as error:
        print(error, file=sys.stderr)  # noqa: T201 - there are no logs before settings
        return USAGE
    logs.configure(settings.log_format, "api", level=settings.log_level)
    if given.listen_fd is not None:
        with socket.socket(fileno=given.listen_fd) as listener:
            return _serve(settings, listener)
    return _begin(settings)


def _begin(settings: ApiSettings) -> int:
    try:
        asyncio.run(preflight(settings))
        listener = _listen(settings.api_host, settings.api_port)
    except (HeadraceError, StartRefused) as error:
        log.critical("api_refuses_to_start", detail=getattr(error, "detail", str(error)))
        return USAGE
    with listener:
        host, port = listener.getsockname()[:2]
        log.info("api_listens", host=host, port=port, processes=settings.api_workers)
        if settings.api_workers == 1:
            return _serve(settings, listener)
        with _metrics_directory():
            return Supervisor(settings, listener).run()


async def preflight(settings: ApiSettings) -> None:
    """Check Redis and the keys; raises StartRefused, WrongRedis, BadKey.

    A Redis that is away stops nobody from starting: requests are answered with 503 until it is
    there. Only who could open the door to a network has to know first whether keys exist; with a
    keys file the door is shut anyway.
    """
    _check_secret(settings)
    async with RedisConnections(
        settings.redis_url, namespace=settings.namespace, durability=settings.durability
    ) as connections:
        store = KeyStore(connections)
        try:
            await connections.verify()
            if settings.keys_file is not None:
                await store.seed(settings.keys_file)
            keys = len(await store.records())
        except QueueUnavailable as error:
            log.warning("redis_away_at_start", detail=error.detail)
            if settings.keys_file is not None:
                return
            keys = 0
    if not keys and not settings.may_be_open:
        raise StartRefused(
            f"There is no API key, and {settings.api_host} can be reached from other machines. "
            "Make one with `headrace keys create`, or name a HEADRACE_KEYS_FILE, or listen on "
            "127.0.0.1, or say --insecure."
        )


def _check_secret(settings: ApiSettings) -> None:
    if settings.webhook_secret is None:
        return
    try:
        key_of(settings.webhook_secret.get_secret_value())
    except ValueError as error:
        raise StartRefused(f"HEADRACE_WEBHOOK_SECRET cannot sign: {error}.") from error


def _listen(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host.strip("[]"), port))
    except OSError as error:
        listener.close()
        raise StartRefused(
            f"{host} port {port} cannot be listened on: {error.strerror}."
        ) from error
    listener.set_inheritable(True)
    return listener


def _serve(settings: ApiSettings, listener: socket.socket) -> int:
    # The parent of several processes needs no web framework in its memory.
    from api.server import serve  # noqa: PLC0415

    try:
        return STARTED_AND_ENDED if serve(settings, listener) else STARTUP_FAILURE
    except traces.TracingRefused as error:
        log.critical("api_refuses_to_start", detail=str(error))
        return USAGE


@contextlib.contextmanager
def _metrics_directory() -> Iterator[None]:
    if os.environ.get(_METRICS_DIRECTORY):
        yield
        return
    folder = tempfile.mkdtemp(prefix="headrace-metrics-")
    os.environ[_METRICS_DIRECTORY] = folder
    try:
        yield
    finally:
        del os.environ[_METRICS_DIRECTORY]
        shutil.rmtree(folder, ignore_errors=True)
