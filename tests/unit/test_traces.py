"""Traces: when they are on, what they are part of, and what a collector that is away costs."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.chaos.process import free_port, until
from telemetry import traces
from telemetry.otlp import Traces
from tests.otlp import Collector

ROOT = Path(__file__).parents[2]
TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
RECORDED, UNRECORDED = f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-00"


@pytest.fixture(autouse=True)
def no_variables(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("OTEL_")]:
        monkeypatch.delenv(name)


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    with Collector() as made:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        yield made


@contextlib.contextmanager
def opened(process: str = "test") -> Iterator[Traces]:
    with traces.opened(process) as made:
        assert made is not None
        yield made


@pytest.mark.parametrize(
    ("variables", "wanted"),
    [
        ({}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, False),
        ({"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://c:4318"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318"}, True),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://c:4318/v1/traces"}, True),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_SDK_DISABLED": "true"}, False),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4318", "OTEL_TRACES_EXPORTER": "none"}, False),
    ],
)
def test_an_endpoint_switches_traces_on(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], wanted: bool
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    traces.check()
    assert traces.wanted() is wanted


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}, "not a URL of http or https"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:99999"}, "not a URL of http or https"),
        (
            {
                "OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:4317",
                "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
            },
            "OTEL_EXPORTER_OTLP_PROTOCOL is 'grpc'; Headrace sends http/protobuf alone",
        ),
    ],
)
def test_what_cannot_be_sent_to_is_refused(
    monkeypatch: pytest.MonkeyPatch, variables: dict[str, str], said: str
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(traces.TracingRefused, match=said):
        traces.check()


def python(code: str, *more: str, **variables: str) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    environ = {**kept, "PYTHONPATH": os.pathsep.join([*more, str(ROOT)]), **variables}
    command = [sys.executable, "-P", *code.split()] if code.startswith("-m") else None
    return subprocess.run(
        command or [sys.executable, "-P", "-c", code],
        env=environ,
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.mark.parametrize("process", ["api.server", "worker.main", "webhooks.main"])
def test_without_an_endpoint_nothing_of_it_is_imported(process: str) -> None:
    found = python(
        f"import sys, {process}; from telemetry import traces\n"
        "with traces.opened('test') as made: assert made is None\n"
        # redis-py looks for the rest of the SDK by itself where it is installed.
        "print({'telemetry.otlp', 'opentelemetry.exporter', 'google.protobuf'} & {*sys.modules})"
    )
    assert (found.stdout, found.returncode) == ("set()\n", 0), found.stderr


@pytest.mark.parametrize(
    "command",
    [
        "-m api",
        "-m worker examples/echo",
        "-m webhooks --only sender",
        "-m headrace up examples/echo",
    ],
)
def test_a_missing_package_is_named_at_the_start(tmp_path: Path, command: str) -> None:
    # A regular package hides the namespace that the real ones share: as if they were not there.
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry" / "__init__.py").touch()
    given = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:4318"}
    command = command.replace("examples", str(ROOT / "examples"))
    found = python(command, str(tmp_path), HEADRACE_DATA_DIR=str(tmp_path), **given)
    assert found.returncode == 2, found.stderr
    assert "pip install 'headrace[otel]'" in " ".join(found.stderr.split())


def test_a_span_goes_on_with_the_trace_it_is_given(collector: Collector) -> None:
    with opened() as made:
        span = made.begin("a", "internal", RECORDED, {"n": 1}, links=[f"00-{'1' * 32}-{SPAN}-01"])
        span.end("broken")
        span.end()
    [seen] = collector.spans
    assert span.traceparent == f"00-{TRACE}-{seen.id}-01"
    assert span.fields == traces.exemplar(span.traceparent)
    assert (seen.trace, seen.parent, seen.kind) == (TRACE, SPAN, "internal")
    assert seen.about == {"n": 1, "error.type": "broken"}
    assert (seen.failed, seen.links) == (True, {("1" * 32, SPAN)})
    assert seen.service == "headrace-test"


def test_a_span_without_a_parent_begins_a_trace(collector: Collector) -> None:
    with opened() as made:
        first, second = (made.begin("a", "server", None, {}) for _ in range(2))
        first.end()
        second.end()
    assert traces.sampled(first.traceparent)
    assert {each.parent for each in collector.spans} == {""}
    assert len({each.trace for each in collector.spans}) == 2


def test_what_is_not_recorded_stays_so(collector: Collector) -> None:
    with opened() as made:
        span = made.begin("a", "server", UNRECORDED, {})
        span.end()
    assert span.traceparent.startswith(f"00-{TRACE}-")
    assert not traces.sampled(span.traceparent)
    assert traces.exemplar(span.traceparent) is None
    assert collector.spans == []


def test_samplers_and_names_are_those_of_the_variables(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_TRACES_SAMPLER", "parentbased_always_off")
    monkeypatch.setenv("OTEL_SERVICE_NAME", "mine")
    with opened() as made:
        assert not traces.sampled(made.begin("a", "server", None, {}).traceparent)
        made.begin("b", "server", RECORDED, {}).end()
        # Its jobs are recorded: a sampler has nothing to say.
        made.begin_batch("c", {}, [RECORDED] * 200).end()
    assert {(each.service, each.name) for each in collector.spans} == {("mine", "b"), ("mine", "c")}
    [batch] = [each for each in collector.spans if each.name == "c"]
    assert len(batch.span.links) == 200


def test_an_endpoint_that_hangs_costs_nothing_and_ends_in_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        monkeypatch.setenv(
            "OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}"
        )
        monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
        with opened() as made:
            began = time.monotonic()
            for _ in range(5000):
                made.begin("a", "internal", RECORDED, {}).end()
            # One wait for the endpoint would be 10 s.
            assert time.monotonic() - began < 5
            began = time.monotonic()
        assert time.monotonic() - began < traces.CLOSE_S + 1


def test_the_log_tells_once_that_a_collector_is_away_and_once_that_it_is_back(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    port = free_port()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{port}")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1")
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "20")
    said = ""

    def count(event: str) -> int:
        nonlocal said
        said += "".join(capsys.readouterr())
        return said.count(event)

    with opened() as made:
        for _ in range(3):
            made.begin("a", "internal", RECORDED, {}).end()
            time.sleep(0.3)
        until(lambda: count("traces_not_taken"), 10)
        with Collector(port) as collector:

            def taken() -> bool:
                made.begin("a", "internal", RECORDED, {}).end()
                time.sleep(0.1)
                return bool(collector.spans)

            until(taken, 10)
            until(lambda: count("traces_taken_again"), 10)
    assert (count("traces_not_taken"), count("traces_taken_again")) == (1, 1)


def test_a_queue_that_is_shorter_than_a_batch_makes_batches_shorter(
    monkeypatch: pytest.MonkeyPatch, collector: Collector
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "16")
    with opened() as made:
        made.begin("a", "server", None, {}).end()
    assert [span.name for span in collector.spans] == ["a"]


def test_a_variable_that_the_sdk_refuses_is_named_at_the_start(
    monkeypatch: pytest.MonkeyPatch, collector: Collector
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "4096")
    with pytest.raises(traces.TracingRefused, match=r"OTEL_\* variables .*batch_size"), opened():
        pass
