"""One trace from the request to the webhook, as a collector of OTLP gets it."""

from __future__ import annotations

import itertools
import json
import secrets
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from headrace.chaos.process import free_port
from headrace.chaos.receiver import Receiver
from headrace.chaos.stack import Process, Stack, until
from tests.otlp import Collector, Seen

from .folders import MODELS

#: Redis's clock tells milliseconds, the spans of this machine nanoseconds.
TICK_S = 0.0015
OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}
OF_A_JOB = ("POST /v1/models/{model}/jobs", "queue", "predict", "settle")


class Hook(Receiver):
    """Keeps the headers of each call, and answers the first calls of a job as it is told."""

    def __init__(self, book: Path) -> None:
        super().__init__(book)
        self.parents: dict[str, list[str]] = {}
        self.refusals = 0

    def take(self, headers: dict[str, str], body: bytes) -> str:
        of = json.loads(body)["data"]["id"]
        self.parents.setdefault(of, []).append(headers.get("traceparent", ""))
        if self.refusals:
            self.refusals -= 1
            return "error"
        return super().take(headers, body)


class Traced:
    """A whole Headrace that traces, where its traces go, and a receiver of webhooks."""

    def __init__(self, stack: Stack, collector: Collector, hook: Hook) -> None:
        self.stack, self.collector, self.hook = stack, collector, hook
        self.metrics_port, self.worker_port = free_port(), free_port()
        self.webhooks_port = three_free_ports()
        self.api = stack.api(metrics_port=str(self.metrics_port), drain_s="5")
        self.worker: Process = stack.worker(
            MODELS / "traced", worker_port=str(self.worker_port), worker_name="w1"
        )
        self.webhooks = stack.webhooks(metrics_port=str(self.webhooks_port))
        self.api.ready("traced")

    def submit(self, given: Any, flags: str = "01", **options: Any) -> tuple[str, str, str]:
        """Submit in a trace of the caller: the trace, the caller's span and the job."""
        trace, span = secrets.token_hex(16), secrets.token_hex(8)
        parent = {"traceparent": f"00-{trace}-{span}-{flags}"}
        answer = self.api.post("traced", given, headers=parent, **options)
        assert answer.status_code == 202, answer.text
        assert answer.headers["traceparent"].split("-")[1] == trace
        return trace, span, answer.json()["id"]


def three_free_ports() -> int:
    def free(port: int) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", port)) != 0

    while True:
        first = free_port()
        if first < 65000 and all(free(first + place) for place in (1, 2)):
            return first


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    with pytest.MonkeyPatch.context() as patch, Collector() as collector:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        book = tmp_path_factory.mktemp("hook") / "book.jsonl"
        with Hook(book) as hook, Stack(webhook_allow="127.0.0.0/8") as stack:
            yield Traced(stack, collector, hook)


def by_name(spans: list[Seen], name: str) -> list[Seen]:
    return [each for each in spans if each.name == name]


def test_one_trace_leads_from_the_request_to_the_webhook(traced: Traced) -> None:
    given = {"seconds": 0.3, "say": "hello"}
    trace, caller, job = traced.submit(given, webhook=traced.hook.webhook())
    spans = traced.collector.trace(trace, *OF_A_JOB, "webhook")
    assert [each.name for each in spans] == [*OF_A_JOB, "webhook"]
    request, queue, predict, settle, webhook = spans

    assert request.parent == caller
    assert {each.parent for each in spans[1:]} == {request.id}
    assert [each.kind for each in spans] == ["server", "consumer", "internal", "client", "client"]
    services = ["headrace-api", *["headrace-worker"] * 3, "headrace-webhooks"]
    assert [each.service for each in spans] == services
    assert not any(each.failed for each in spans)

    for before, after in itertools.pairwise(spans):
        assert before.begin <= after.begin + TICK_S
    assert queue.end <= predict.begin + TICK_S
    assert predict.end <= settle.end
    assert predict.end <= webhook.begin + TICK_S
    assert 0.3 <= predict.end - predict.begin < 3
    assert 0 <= queue.end - queue.begin < 3
    assert request.begin - TICK_S <= queue.begin <= request.end + TICK_S

    shown = traced.api.get(job)
    assert abs(shown["metrics"]["queue_s"] - (queue.end - queue.begin)) < 0.1
    assert [each.about["messaging.message.id"] for each in spans[1:]] == [job] * 4
    assert request.about["http.response.status_code"] == 202
    assert request.about["http.route"] == "/v1/models/{model}/jobs"
    assert webhook.about["http.response.status_code"] == 200
    assert until(lambda: traced.hook.parents.get(job), 10) == [f"00-{trace}-{webhook.id}-01"]

    [said] = [line for line in lines(traced.worker) if line.get("text") == "hello"]
    assert (said["trace_id"], said["span_id"]) == (trace, predict.id)


def lines(process: Process) -> list[dict[str, Any]]:
    return [json.loads(line) for line in process.said().splitlines() if line.startswith("{")]


def test_a_batch_is_linked_to_the_trace_of_each_of_its_jobs(traced: Traced) -> None:
    # While it is busy with another, they gather.
    before, _, busy = traced.submit({"seconds": 0.5})
    traced.api.reaches(busy, "running")
    traces = [traced.submit({})[0] for _ in range(3)]
    traced.collector.trace(before, *OF_A_JOB)
    predicts = [traced.collector.one(trace, "predict") for trace in traces]
    [batch_trace] = {trace for each in predicts for trace, _ in each.links}
    batch = traced.collector.one(batch_trace, "batch")
    assert {each.links == {(batch.trace, batch.id)} for each in predicts} == {True}
    assert batch.links == {(each.trace, each.parent) for each in predicts}
    assert batch.parent == ""
    assert batch.about["messaging.batch.message_count"] == 3
    for each in predicts:
        assert batch.begin <= each.begin <= each.end <= batch.end
        queue = traced.collector.one(each.trace, "queue")
        # As long as what ran before them took, but for how long the three submits took.
        assert 0.2 <= queue.end - queue.begin < 5


def test_a_caller_without_a_trace_gets_one(traced: Traced) -> None:
    answer = traced.api.post("traced", {})
    _, trace, span, flags = answer.headers["traceparent"].split("-")
    [request] = by_name(traced.collector.trace(trace, *OF_A_JOB), OF_A_JOB[0])
    assert (request.id, request.parent) == (span, "")
    # Recorded, and its id is random.
    assert flags == "03"


def test_probes_have_no_trace(traced: Traced) -> None:
    assert "traceparent" not in traced.api.call("GET", "/livez").headers


def test_a_failed_request_says_so(traced: Traced) -> None:
    trace = secrets.token_hex(16)
    parent = {"traceparent": f"00-{trace}-{'1' * 16}-01"}
    assert traced.api.post("no-such-model", {}, headers=parent).status_code == 404
    request = traced.collector.one(trace, "POST /v1/models/{model}/jobs")
    assert request.about["http.response.status_code"] == 404
    # By the conventions a client's fault is no error of the server's span.
    assert not request.failed


def test_what_the_caller_does_not_record_is_not_exported(traced: Traced) -> None:
    unsampled, _, job = traced.submit({}, flags="00", webhook=traced.hook.webhook())
    [parent] = until(lambda: traced.hook.parents.get(job), 30)
    assert parent.startswith(f"00-{unsampled}-")
    assert parent.endswith("-00")
    # One that is recorded, after it on the same way: what there was of the other has gone before.
    trace, _, _ = traced.submit({}, webhook=traced.hook.webhook())
    traced.collector.trace(trace, *OF_A_JOB, "webhook")
    assert [each for each in traced.collector.spans if each.trace == unsampled] == []
    [batch_trace] = {link for link, _ in traced.collector.one(trace, "predict").links}
    assert len(traced.collector.one(batch_trace, "batch").links) == 1


def test_each_try_at_a_webhook_is_a_span(traced: Traced) -> None:
    traced.hook.refusals = 1
    trace, _, job = traced.submit({}, webhook=traced.hook.webhook())
    tries = by_name(traced.collector.trace(trace, "webhook", "webhook"), "webhook")
    assert [each.failed for each in tries] == [True, False]
    assert [each.about.get("http.request.resend_count", 0) for each in tries] == [0, 1]
    assert [each.about["http.response.status_code"] for each in tries] == [503, 200]
    assert [each.split("-")[2] for each in traced.hook.parents[job]] == [each.id for each in tries]
    [failed] = [each for each in lines(traced.webhooks) if each.get("owner") == job]
    assert (failed["event"], failed["trace_id"]) == ("delivery_failed", trace)


def test_each_attempt_is_seen(traced: Traced, tmp_path: Path) -> None:
    trace, _, job = traced.submit({"do": "raise_once", "file": str(tmp_path / "once")})
    assert traced.api.finished(job)["status"] == "succeeded"
    spans = traced.collector.trace(trace, *OF_A_JOB, *OF_A_JOB[1:])
    first, second = by_name(spans, "predict")
    assert (first.failed, first.about["error.type"], second.failed) == (True, "model_error", False)
    assert [each.about["headrace.verdict"] for each in by_name(spans, "settle")] == ["retry", "ok"]
    assert_second_wait(spans, "model_error")
    of_job = [each for each in lines(traced.worker) if each.get("job_id") == job]
    [settled] = [each for each in of_job if each["event"] == "job_settled"]
    assert (settled["code"], settled["trace_id"]) == ("model_error", trace)


def assert_second_wait(spans: list[Seen], reason: str) -> None:
    """The second time in the queue begins where the first attempt ended, and says how that did."""
    before, again = by_name(spans, "queue")
    assert before.about["headrace.attempt"] == 1
    [event] = again.span.events
    assert event.name == "headrace.attempt.ended"
    assert {each.key: each.value.string_value for each in event.attributes}[
        "headrace.reason"
    ] == reason
    assert event.time_unix_nano == again.span.start_time_unix_nano
    assert before.end <= again.begin + TICK_S


def test_the_death_of_an_engine_is_seen(traced: Traced, tmp_path: Path) -> None:
    trace, _, job = traced.submit({"do": "crash_once", "file": str(tmp_path / "once")})
    assert traced.api.finished(job)["status"] == "succeeded"
    spans = traced.collector.trace(trace, *OF_A_JOB, "queue", "predict")
    first, second = by_name(spans, "predict")
    assert (first.about["error.type"], second.failed) == ("sigkill", False)
    assert_second_wait(spans, "sigkill")
    [link] = first.links
    assert traced.collector.one(link[0], "batch").about["error.type"] == "engine_gone"


def test_the_end_of_a_batch_of_jobs_is_told_in_its_trace(traced: Traced) -> None:
    trace = secrets.token_hex(16)
    hook = traced.hook.webhook() | {"events": ["batch.finished"]}
    body = {"inputs": [{}] * 3, "webhook": hook}
    path = "/v1/models/traced/jobs/batch"
    parent = {"traceparent": f"00-{trace}-{'2' * 16}-01"}
    batch = traced.api.call("POST", path, json=body, headers=parent).json()["batch"]
    spans = traced.collector.trace(trace, *["predict"] * 3, "webhook")
    [webhook] = by_name(spans, "webhook")
    assert webhook.about["headrace.webhook.type"] == "batch.finished"
    assert until(lambda: traced.hook.parents.get(batch), 10) == [f"00-{trace}-{webhook.id}-01"]


@pytest.mark.parametrize(
    ("port", "histogram"),
    [
        ("metrics_port", "http_request_seconds"),
        ("worker_port", "queue_seconds"),
        ("worker_port", "run_seconds"),
        ("worker_port", "end_to_end_seconds"),
    ],
)
def test_histograms_name_a_trace(traced: Traced, port: str, histogram: str) -> None:
    trace, _, job = traced.submit({})
    assert traced.api.finished(job)["status"] == "succeeded"
    traced.collector.trace(trace, *OF_A_JOB)
    url = f"http://127.0.0.1:{getattr(traced, port)}/metrics"
    plain = httpx.get(url)
    assert plain.headers["content-type"].startswith("text/plain")
    assert "trace_id" not in plain.text
    text = httpx.get(url, headers=OPENMETRICS)
    assert text.headers["content-type"].startswith("application/openmetrics-text")
    named = {}
    for family in text_string_to_metric_families(text.text):
        if family.name == f"headrace_{histogram}":
            for sample in family.samples:
                if sample.exemplar:
                    named[sample.exemplar.labels["span_id"]] = sample.exemplar.labels["trace_id"]
    known = {each.id: each.trace for each in traced.collector.spans}
    exported = {span: trace for span, trace in named.items() if known.get(span) == trace}
    assert exported


@pytest.mark.parametrize("part", [0, 1, 2], ids=["sender", "retries", "cron"])
def test_each_process_of_webhooks_tells_its_health_and_metrics(traced: Traced, part: int) -> None:
    url = f"http://127.0.0.1:{traced.webhooks_port + part}"

    def status(path: str) -> int:
        try:
            return httpx.get(f"{url}{path}").status_code
        except httpx.TransportError:
            return 0

    until(lambda: status("/healthz") == 200, 20, "healthy")
    assert status("/livez") == 200
    assert "headrace_build_info{" in httpx.get(f"{url}/metrics").text


def test_a_job_whose_worker_died_tells_of_it(traced: Traced) -> None:
    trace, _, job = traced.submit({"seconds": 1.5})
    traced.api.reaches(job, "running")
    traced.collector.trace(trace, "queue")
    traced.worker.kill_tree()
    traced.worker.start()
    assert traced.api.finished(job, 60)["status"] == "succeeded"
    spans = traced.collector.trace(trace, *OF_A_JOB, "queue")
    assert len(by_name(spans, "predict")) == 1
    assert_second_wait(spans, "worker_restarted")
