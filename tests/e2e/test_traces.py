"""One trace from the request to the webhook, as a collector of OTLP gets it."""

from __future__ import annotations

import itertools
import secrets
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median

import httpx
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from headrace.chaos.stack import Stack, until
from tests.otlp import Collector, Seen

from .traced import OF_A_JOB, TICK_S, Hook, Traced, by_name, lines

OPENMETRICS = {"Accept": "application/openmetrics-text; version=1.0.0"}


@pytest.fixture(scope="module")
def traced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Traced]:
    with pytest.MonkeyPatch.context() as patch, Collector() as collector:
        patch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        patch.setenv("OTEL_BSP_SCHEDULE_DELAY", "100")
        book = tmp_path_factory.mktemp("hook") / "book.jsonl"
        with Hook(book) as hook, Stack(webhook_allow="127.0.0.0/8") as stack:
            yield Traced(stack, collector, hook)


def test_one_trace_leads_from_the_request_to_the_webhook(traced: Traced) -> None:
    given = {"seconds": 0.3, "say": "hello"}
    trace, caller, job = traced.submit(given, webhook=traced.hook.webhook())
    found = traced.collector.trace(trace, *OF_A_JOB, "webhook")
    assert sorted(each.name for each in found) == sorted([*OF_A_JOB, "webhook"])
    # By name: the milliseconds of Redis may put the queue's begin before the request's.
    spans = [each for name in (*OF_A_JOB, "webhook") for each in by_name(found, name)]
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
    assert 0.25 <= predict.end - predict.begin < 3
    assert 0 <= queue.end - queue.begin < 3
    assert request.begin - TICK_S <= queue.begin <= request.end + TICK_S

    assert [each.about["messaging.message.id"] for each in spans[1:]] == [job] * 4
    assert request.about["http.response.status_code"] == 202
    assert request.about["http.route"] == "/v1/models/{model}/jobs"
    assert webhook.about["http.response.status_code"] == 200
    assert until(lambda: traced.hook.parents.get(job), 10) == [f"00-{trace}-{webhook.id}-01"]

    [said] = [line for line in lines(traced.worker) if line.get("text") == "hello"]
    assert (said["trace_id"], said["span_id"]) == (trace, predict.id)


def test_the_queue_of_a_job_lasted_as_long_as_its_client_is_told(traced: Traced) -> None:
    apart = []
    for _ in range(3):
        trace, _, job = traced.submit({})
        queue = traced.collector.one(trace, "queue")
        shown = traced.api.finished(job)["metrics"]["queue_s"]
        apart.append(abs(shown - (queue.end - queue.begin)))
    # The middle one tells: a worker that stands still as it hears of a start adds to one of them.
    assert median(apart) < 0.1


def test_a_batch_is_linked_to_the_request_and_the_queue_of_each_of_its_jobs(
    traced: Traced, tmp_path: Path
) -> None:
    gate = tmp_path / "gate"
    before, _, busy = traced.submit({"gate": str(gate)})
    traced.api.reaches(busy, "running")
    # While it is busy with another and takes none, they gather.
    traced.worker.signal(signal.SIGSTOP)
    try:
        traces = [traced.submit({})[0] for _ in range(3)]
        time.sleep(0.3)
    finally:
        traced.worker.signal(signal.SIGCONT)
    gate.touch()
    traced.collector.trace(before, *OF_A_JOB)
    predicts = [traced.collector.one(trace, "predict") for trace in traces]
    queues = [traced.collector.one(trace, "queue") for trace in traces]
    [batch_trace] = {trace for each in predicts for trace, _ in each.links}
    batch = traced.collector.one(batch_trace, "batch")
    for each in [*queues, *predicts]:
        assert each.links == {(batch.trace, batch.id)}, each.name
    requests = {(each.trace, each.parent) for each in predicts}
    assert batch.links == requests | {(each.trace, each.id) for each in queues}
    assert len(batch.links) == 6
    assert batch.parent == ""
    assert batch.about["messaging.batch.message_count"] == 3
    for queue, each in zip(queues, predicts, strict=True):
        assert queue.end <= batch.begin <= each.begin <= each.end <= batch.end
        # As long as what ran before them took from then on.
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
    batch = traced.collector.one(batch_trace, "batch")
    # The request and the queue of the one alone.
    assert {linked for linked, _ in batch.links} == {trace}
    assert len(batch.links) == 2


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
    waits = by_name(spans, "queue")
    batches = [
        traced.collector.one(trace, "batch") for each in (first, second) for trace, _ in each.links
    ]
    assert batches[0].about["error.type"] == "engine_gone"
    # Each attempt waited for a batch of its own.
    assert [wait.links for wait in waits] == [{(each.trace, each.id)} for each in batches]
    for wait, batch in zip(waits, batches, strict=True):
        assert (trace, wait.id) in batch.links


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


def test_a_job_whose_worker_died_tells_of_it(traced: Traced, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    trace, _, job = traced.submit({"gate": str(gate)})
    traced.api.reaches(job, "running")
    traced.collector.trace(trace, "queue")
    traced.worker.kill_tree()
    gate.touch()
    traced.worker.start()
    assert traced.api.finished(job, 60)["status"] == "succeeded"
    spans = traced.collector.trace(trace, *OF_A_JOB, "queue")
    assert len(by_name(spans, "predict")) == 1
    assert_second_wait(spans, "worker_restarted")
