"""From counted metrics to the text Prometheus reads, also when several processes count."""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path
from socketserver import ThreadingMixIn
from types import TracebackType
from typing import Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import (
    CollectorRegistry,
    make_wsgi_app,
    multiprocess,
    values,
)
from prometheus_client.core import Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.mmap_dict import MmapedDict
from prometheus_client.registry import Collector

from telemetry.metrics import Metrics
from telemetry.queue_figures import BuildInfo

DIRECTORY_VARIABLE = "PROMETHEUS_MULTIPROC_DIR"

#: Files of processes that have ended are added up under a process id that none can have.
ENDED = 0


class Exposition:
    """One process's metrics and the registry a scrape reads: its own, or all processes' together.

    Create it once in a process. `collectors` are read at each scrape, such as QueueCollector.
    """

    def __init__(self, *collectors: Collector) -> None:
        directory = os.environ.get(DIRECTORY_VARIABLE)
        if directory and values.ValueClass is values.MutexValue:
            raise RuntimeError(f"{DIRECTORY_VARIABLE} was set after the metrics were imported")
        counted = CollectorRegistry()
        self.metrics = Metrics(counted)
        self.registry = counted
        if directory:
            self.registry = CollectorRegistry(auto_describe=False)
            self.registry.register(SharedFiles(Path(directory)))
        self.registry.register(BuildInfo())
        for collector in collectors:
            self.registry.register(collector)

    def render(self) -> bytes:
        """Return the text of a scrape. It blocks on the collectors: call it in a thread."""
        return self.answer("")[0]

    def answer(self, accept: str) -> tuple[bytes, str]:
        """Return the text and its type: OpenMetrics, which has exemplars, where it is accepted."""
        encode, content_type = choose_encoder(accept)
        return encode(self.registry), content_type


class SharedFiles:
    """The counts of every process that shares the directory, those that have ended included."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory

    def collect(self) -> Iterable[Metric]:
        """Add up all files; those of ended processes are first folded into one."""
        with self._lock():
            for path in self._ended("gauge_live*"):
                path.unlink(missing_ok=True)
            for kind in ("counter", "histogram"):
                self._fold(kind)
            files = [str(path) for path in sorted(self._directory.glob("*.db"))]
            merged: Iterable[Metric] = multiprocess.MultiProcessCollector.merge(files)
            return merged

    def describe(self) -> Iterable[Metric]:
        """Name nothing ahead: what is counted is known from the files alone."""
        return []

    def _ended(self, prefix: str) -> list[Path]:
        """Files of processes that are gone: each restart leaves some behind."""
        paths = self._directory.glob(f"{prefix}_*.db")
        return [path for path in paths if not _alive(int(path.stem.rpartition("_")[2]))]

    def _fold(self, kind: str) -> None:
        ended = self._ended(kind)
        total = self._directory / f"{kind}_{ENDED}.db"
        if not ended:
            return
        sums: dict[str, float] = {}
        for path in [*ended, *([total] if total.exists() else [])]:
            for key, value, _, _ in MmapedDict.read_all_values_from_file(str(path)):
                sums[key] = sums.get(key, 0.0) + value
        fresh = total.with_suffix(".new")
        fresh.unlink(missing_ok=True)
        written = MmapedDict(str(fresh))
        for key, value in sums.items():
            written.write_value(key, value, 0.0)
        written.close()
        fresh.replace(total)
        for path in ended:
            path.unlink(missing_ok=True)

    @contextlib.contextmanager
    def _lock(self) -> Iterator[None]:
        """One scrape at a time over all processes: else one would count what another is folding."""
        with (self._directory / "lock").open("w") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield


def _alive(pid: int) -> bool:
    if pid == ENDED:
        return True
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


class MetricsServer:
    """`/metrics` on a port of its own, in a thread, so that a scrape never holds up a request.

    Several processes may serve the same port: whichever is asked answers for all.
    """

    def __init__(self, exposition: Exposition, host: str, port: int) -> None:
        self._exposition = exposition
        self._address = (host, port)
        self._server: WSGIServer | None = None
        self._thread: threading.Thread | None = None

    @property
    def port(self) -> int:
        """The port it listens on, also where 0 was asked for."""
        return self._server.server_port if self._server else self._address[1]

    def __enter__(self) -> Self:
        app = make_wsgi_app(self._exposition.registry)
        self._server = make_server(*self._address, app, _SharedPort, _Silent)
        self._thread = threading.Thread(
            target=self._server.serve_forever, name="metrics", daemon=True
        )
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        server, thread = self._server, self._thread
        self._server = self._thread = None
        if server is not None:
            server.shutdown()
            server.server_close()
        if thread is not None:
            thread.join()


class _SharedPort(ThreadingMixIn, WSGIServer):
    """Listens with SO_REUSEPORT, as each worker process of one API serves the same port."""

    allow_reuse_port = True
    daemon_threads = True


class _Silent(WSGIRequestHandler):
    """A scrape is no event."""

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing."""
