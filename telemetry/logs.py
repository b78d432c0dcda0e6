"""Structured logs: one event per line, with the job, model and worker it belongs to."""

from __future__ import annotations

import contextlib
import logging
import os
import sys
from typing import TextIO, cast

import structlog
from structlog.contextvars import bound_contextvars
from structlog.typing import EventDict, FilteringBoundLogger, Processor, WrappedLogger

__all__ = ["bind", "bound", "configure", "get"]

#: `with bound(job_id=...)`: fields of every event inside, in this task or thread only.
bound = bound_contextvars

#: Fields of every event of this process. Not a context variable: a thread begins with none.
_always: dict[str, object] = {}

#: Libraries whose chatter says nothing that our own events do not, and from where they are heard.
NOISE = {
    "aiohttp.access": logging.CRITICAL,
    "asyncio": logging.WARNING,
    "filelock": logging.WARNING,
    "httpcore": logging.WARNING,
    "httpx": logging.WARNING,
    "uvicorn.access": logging.CRITICAL,
    "uvicorn.error": logging.WARNING,
}


def configure(fmt: str, process: str, *, level: str = "info", stream: TextIO | None = None) -> None:
    """Send this process's events, and those of its libraries, to `stream` (standard error).

    `fmt` is json, console, or auto: console where the stream is a terminal.
    """
    out = cast("TextIO", _Unbreakable(sys.stderr if stream is None else stream))
    console = fmt == "console" or (fmt == "auto" and out.isatty())
    threshold = logging.getLevelNamesMapping()[level.upper()]
    shared = _shared_processors(process)
    ending = _ending(console, colors=out.isatty())
    structlog.configure(
        processors=[*shared, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(out),
        cache_logger_on_first_use=False,
    )
    _capture_standard_logging(shared, ending, out, threshold)


def bind(**fields: object) -> None:
    """Put fields into every event of this process from here on: `bind(model=..., worker=...)`."""
    _always.update(fields)


def get(name: str) -> FilteringBoundLogger:
    """Return the logger of a module; `name` is the event's `logger`."""
    return cast("FilteringBoundLogger", structlog.get_logger(logger_name=name))


class _Unbreakable:
    """A stream whose reader may go away: a lost log line must not fail the work it tells of."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self.isatty = stream.isatty

    def write(self, text: str) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.write(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            self._stream.flush()


def _shared_processors(process: str) -> list[Processor]:
    pid = os.getpid()

    def identify(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event["logger"] = event.pop("logger_name", None)
        event["process"] = process
        event["pid"] = pid
        for field, value in _always.items():
            event.setdefault(field, value)
        return event

    return [
        structlog.contextvars.merge_contextvars,
        identify,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def _ending(console: bool, *, colors: bool) -> list[Processor]:
    if console:
        # A rich traceback prints the locals, and with them whatever secret they hold.
        plain = structlog.dev.plain_traceback
        return [structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=plain)]
    return [
        structlog.processors.format_exc_info,
        structlog.processors.JSONRenderer(),
    ]


def _capture_standard_logging(
    shared: list[Processor], ending: list[Processor], out: TextIO, threshold: int
) -> None:
    def name(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        record = cast("logging.LogRecord", event["_record"])
        event["logger"] = record.name
        return event

    handler = logging.StreamHandler(out)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    logging.basicConfig(handlers=[handler], level=threshold, force=True)
    logging.captureWarnings(True)
    for library, heard_from in NOISE.items():
        logging.getLogger(library).setLevel(max(heard_from, threshold))
