"""Traces by OpenTelemetry: there when an OTLP endpoint is set, else nothing of it is imported.

What is set up is read from the standard variables (`OTEL_*`), as every process that traces reads
them; there are no settings of ours.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from telemetry.otlp import Traces

#: Either of them switches tracing on; the SDK lets the first win.
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
SPOKEN = "http/protobuf"
_PACKAGES = ("opentelemetry.sdk.trace", "opentelemetry.exporter.otlp.proto.http")

#: What the end of a process may wait for its last spans to be taken.
CLOSE_S = 3.0


class TracingRefused(ValueError):
    """Traces are asked for and cannot be sent; the text says what to do."""


def _given(*names: str) -> tuple[str, str]:
    """Return the first of the variables that is set, and its value; empty is as good as unset."""
    values = ((name, os.environ.get(name, "").strip()) for name in names)
    return next((each for each in values if each[1]), ("", ""))


def wanted() -> bool:
    """Whether an OTLP endpoint is set, and nothing switches traces off."""
    if _given("OTEL_SDK_DISABLED")[1].lower() == "true":
        return False
    if _given("OTEL_TRACES_EXPORTER")[1].lower() == "none":
        return False
    return bool(_given(*ENDPOINTS)[1])


def check() -> None:
    """Raise TracingRefused where traces are wanted and could not be sent."""
    if not wanted():
        return
    name, endpoint = _given(*ENDPOINTS)
    if not all(map(_installed, _PACKAGES)):
        raise TracingRefused(
            f"{name} is set, and the packages that send traces are not installed: "
            "pip install 'headrace[otel]', or unset it."
        )
    if not _is_url(endpoint):
        raise TracingRefused(f"{name} is not a URL of http or https: {endpoint!r}.")
    spoken, protocol = _given(*PROTOCOLS)
    if protocol not in ("", SPOKEN):
        raise TracingRefused(
            f"{spoken} is {protocol!r}; Headrace sends {SPOKEN} alone: set that, and the "
            "endpoint to the port that takes it (a collector's 4318)."
        )


def _installed(package: str) -> bool:
    try:
        return importlib.util.find_spec(package) is not None
    except ModuleNotFoundError:
        return False


def _is_url(text: str) -> bool:
    try:
        parts = urlsplit(text)
        # Reading the port is what finds a wrong one.
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


@contextlib.contextmanager
def opened(process: str) -> Iterator[Traces | None]:
    """Give what `process` traces with, None where nothing is wanted; `check` comes before.

    Leaving it waits for the last spans, `CLOSE_S` at most.
    """
    if not wanted():
        yield None
        return
    # A third of a second that only who traces has to pay.
    from telemetry.otlp import Traces  # noqa: PLC0415

    try:
        traces = Traces(process)
    except ValueError as error:
        # The SDK reads the rest of its variables by itself.
        raise TracingRefused(f"One of the OTEL_* variables cannot be used: {error}") from error
    try:
        yield traces
    finally:
        traces.close(CLOSE_S)


def sampled(traceparent: str | None) -> bool:
    """Whether whoever began this trace records it."""
    return traceparent is not None and int(traceparent[53:55], 16) & 1 == 1


def trace_fields(traceparent: str | None) -> dict[str, str]:
    """Return what a line of the log says of a valid traceparent: its trace."""
    return {} if traceparent is None else {"trace_id": traceparent[3:35]}


def exemplar(traceparent: str | None) -> dict[str, str] | None:
    """Return what a histogram shows beside a count: where to look, if it was recorded."""
    if traceparent is None or not sampled(traceparent):
        return None
    return {"trace_id": traceparent[3:35], "span_id": traceparent[36:52]}
