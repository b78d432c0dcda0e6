import asyncio
import os
import subprocess
import sys
import textwrap
import urllib.request
from pathlib import Path

import pytest
from prometheus_client.openmetrics import parser as openmetrics
from prometheus_client.parser import text_string_to_metric_families

from telemetry.exposition import DIRECTORY_VARIABLE, Exposition, MetricsServer, SharedFiles
from telemetry.queue_figures import QueueCollector, QueueFigures, from_loop

ROOT = Path(__file__).parents[2]


def samples(text):
    families = text_string_to_metric_families(text.decode())
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in families
        for sample in family.samples
    }


def value(text, name, **labels):
    return samples(text).get((f"headrace_{name}", tuple(sorted(labels.items()))))


def test_what_is_counted_is_shown_under_our_prefix():
    exposition = Exposition()
    exposition.metrics.jobs_submitted.labels("echo", "high").inc(3)
    exposition.metrics.batch_size.labels("echo").observe(8)
    text = exposition.render()
    assert value(text, "jobs_submitted_total", model="echo", priority="high") == 3
    assert value(text, "batch_size_count", model="echo") == 1
    assert value(text, "batch_size_bucket", model="echo", le="8.0") == 1
    assert value(text, "batch_size_bucket", model="echo", le="4.0") == 0


def test_every_metric_of_the_contract_that_processes_count_has_its_name():
    exposition = Exposition()
    names = {metric.name for metric in exposition.registry.collect()}
    counters = ["jobs_submitted", "jobs_finished", "requeues", "stale_writes_refused"]
    counters += ["engine_restarts", "oom", "http_requests"]
    others = ["batch_size", "queue_seconds", "run_seconds", "end_to_end_seconds"]
    others += ["weights_bytes", "gpu_memory_bytes", "gpu_busy_ratio", "build_info"]
    assert {f"headrace_{name}" for name in counters + others} <= names


def test_a_request_is_counted_by_route_and_timed():
    exposition = Exposition()
    for status in (202, 202, 422):
        exposition.metrics.request_observer("POST", "/v1/models/{model}/jobs", status, 0.003)
    text = exposition.render()
    route = "/v1/models/{model}/jobs"
    assert value(text, "http_requests_total", method="POST", route=route, status="202") == 2
    assert value(text, "http_request_seconds_count", route=route) == 3


def figures(**changes):
    return QueueFigures(
        **{"model": "embed", "queued": 7, "running": 2, "workers_ready": 1, **changes}
    )


def test_the_queue_is_read_once_a_scrape():
    reads = []

    def read():
        reads.append(1)
        return [figures(oldest_s=4.5, backlog_s=1.5), figures(model="echo", queued=0)]

    exposition = Exposition(QueueCollector(read))
    assert reads == []
    text = exposition.render()
    assert reads == [1]
    assert value(text, "jobs_queued", model="embed") == 7
    assert value(text, "jobs_running", model="embed") == 2
    assert value(text, "queue_oldest_seconds", model="embed") == 4.5
    assert value(text, "backlog_seconds", model="embed") == 1.5
    assert value(text, "backlog_seconds", model="echo") is None
    assert value(text, "workers_ready", model="echo") == 1
    assert value(text, "redis_up") == 1


def test_a_redis_that_is_away_is_a_fact_and_not_a_failed_scrape():
    text = Exposition(QueueCollector(lambda: None)).render()
    assert value(text, "redis_up") == 0
    assert value(text, "jobs_queued", model="embed") is None


async def test_a_scrape_in_a_thread_reads_through_the_loop():
    async def read():
        await asyncio.sleep(0)
        return [figures()]

    blocking = from_loop(asyncio.get_running_loop(), read)
    assert await asyncio.to_thread(blocking) == [figures()]


async def test_a_read_that_takes_too_long_counts_as_away():
    async def read():
        await asyncio.sleep(30)

    blocking = from_loop(asyncio.get_running_loop(), read, timeout_s=0.01)
    assert await asyncio.to_thread(blocking) is None


def test_a_loop_that_has_stopped_counts_as_away():
    loop = asyncio.new_event_loop()
    loop.close()
    assert from_loop(loop, lambda: asyncio.sleep(0))() is None


def test_the_server_answers_on_its_own_port_until_it_is_left():
    exposition = Exposition()
    exposition.metrics.stale_writes_refused.inc()
    with MetricsServer(exposition, "127.0.0.1", 0) as server:
        url = f"http://127.0.0.1:{server.port}/metrics"
        with urllib.request.urlopen(url, timeout=5) as answer:
            assert value(answer.read(), "stale_writes_refused_total") == 1
    with pytest.raises(OSError, match="refused"):
        urllib.request.urlopen(url, timeout=5)


def test_two_servers_may_share_a_port():
    with (
        MetricsServer(Exposition(), "127.0.0.1", 0) as first,
        MetricsServer(Exposition(), "127.0.0.1", first.port) as second,
    ):
        assert second.port == first.port


COUNT = """
    from telemetry.exposition import Exposition
    exposition = Exposition()
    exposition.metrics.jobs_submitted.labels("echo", "high").inc(2)
    exposition.metrics.run_seconds.labels("echo").observe(0.2)
    exposition.metrics.weights_bytes.labels("echo").set(100)
    print(exposition.render().decode())
"""


def run(code, directory):
    return subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)],
        env={**os.environ, DIRECTORY_VARIABLE: str(directory), "PYTHONPATH": str(ROOT)},
        check=True,
        capture_output=True,
        timeout=30,
    ).stdout


def test_counts_of_several_processes_add_up_also_after_they_ended(tmp_path):
    for _ in range(3):
        text = run(COUNT, tmp_path)
    assert value(text, "jobs_submitted_total", model="echo", priority="high") == 6
    assert value(text, "run_seconds_count", model="echo") == 3
    assert value(text, "run_seconds_bucket", model="echo", le="0.25") == 3
    assert value(text, "run_seconds_bucket", model="echo", le="0.1") == 0
    assert value(text, "weights_bytes", model="echo") == 100


def test_files_of_ended_processes_do_not_pile_up(tmp_path):
    for _ in range(4):
        run(COUNT, tmp_path)
    list(SharedFiles(tmp_path).collect())
    names = sorted(path.name for path in tmp_path.glob("*.db"))
    assert names == ["counter_0.db", "histogram_0.db"]


def test_folding_twice_counts_once(tmp_path):
    run(COUNT, tmp_path)
    for _ in range(3):
        metrics = {metric.name: metric for metric in SharedFiles(tmp_path).collect()}
    [sample] = metrics["headrace_jobs_submitted"].samples
    assert sample.value == 2


def test_a_directory_named_too_late_is_an_error_and_not_a_silent_loss(tmp_path, monkeypatch):
    monkeypatch.setenv(DIRECTORY_VARIABLE, str(tmp_path))
    with pytest.raises(RuntimeError, match="after the metrics were imported"):
        Exposition()


EXEMPLAR = """
    from telemetry.exposition import Exposition
    exposition = Exposition()
    exposition.metrics.run_seconds.labels("echo").observe(0.2, {"trace_id": "a" * 32})
    body, content_type = exposition.answer("application/openmetrics-text; version=1.0.0")
    print(content_type)
    print(body.decode())
"""


def test_openmetrics_has_exemplars_and_the_plain_text_has_none():
    exposition = Exposition()
    exposition.metrics.run_seconds.labels("echo").observe(0.2, {"trace_id": "a" * 32})
    body, content_type = exposition.answer("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text; version=1.0.0")
    [family] = [
        each
        for each in openmetrics.text_string_to_metric_families(body.decode())
        if each.name == "headrace_run_seconds"
    ]
    [found] = [sample.exemplar for sample in family.samples if sample.exemplar]
    assert (found.labels, found.value) == ({"trace_id": "a" * 32}, 0.2)
    assert "trace_id" not in exposition.render().decode()


def test_openmetrics_of_several_processes_is_whole_without_exemplars(tmp_path):
    run(EXEMPLAR, tmp_path)
    content_type, _, text = run(EXEMPLAR, tmp_path).decode().partition("\n")
    assert content_type.startswith("application/openmetrics-text")
    names = {each.name for each in openmetrics.text_string_to_metric_families(text.strip() + "\n")}
    assert {"headrace_run_seconds", "headrace_build_info"} <= names
    assert 'headrace_run_seconds_count{model="echo"} 2.0' in text
    assert "trace_id" not in text
