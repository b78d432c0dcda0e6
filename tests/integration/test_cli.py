"""The commands against a small server on loopback: what they print, send and exit with."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.integration.cli_rig import FakeServer, headrace, job, problem

SUBMIT = ("POST", "/v1/models/echo/jobs")
JOB = ("GET", "/v1/jobs/job_1")


def test_submit_prints_the_id(server: FakeServer) -> None:
    server.on(*SUBMIT, (202, job()))
    done = headrace("submit", "echo", '{"a": 1}', "--priority", "high", "--deadline", "5")
    assert (done.exit_code, done.stdout) == (0, "job_1 queued\n")
    assert server.bodies == [{"input": {"a": 1}, "priority": "high", "deadline_s": 5.0}]


def test_submit_takes_every_option(server: FakeServer) -> None:
    server.on(*SUBMIT, (202, job()))
    options = ["--timeout", "3", "--idempotency-key", "k", "--metadata", '{"m": 1}', "--json"]
    done = headrace("submit", "echo", "1", *options, "--key", "hr_a_b")
    assert json.loads(done.stdout) == job()
    assert server.bodies == [{"input": 1, "timeout_s": 3.0, "metadata": {"m": 1}}]
    assert server.headers[0]["idempotency-key"] == "k"
    assert server.headers[0]["authorization"] == "Bearer hr_a_b"


def test_submit_reads_standard_input_and_files(server: FakeServer, tmp_path: Path) -> None:
    server.on(*SUBMIT, (202, job()))
    (tmp_path / "input.json").write_text('{"b": "ä"}', encoding="utf-8")
    assert headrace("submit", "echo", "-", given='{"a": 1}').exit_code == 0
    assert headrace("submit", "echo", f"@{tmp_path / 'input.json'}").exit_code == 0
    assert [body["input"] for body in server.bodies] == [{"a": 1}, {"b": "ä"}]


@pytest.mark.parametrize("value", ["{a: 1}", "@/no/such/file", "", "[NaN]", '"\\ud800"'])
def test_an_input_that_cannot_be_read_is_usage(server: FakeServer, value: str) -> None:
    done = headrace("submit", "echo", value)
    assert done.exit_code == 2
    assert server.bodies == []


def test_wait_prints_the_output(server: FakeServer) -> None:
    server.on(*SUBMIT, (202, job()))
    server.on(*JOB, (200, job("running")), (200, job("succeeded", output={"b": 2})))
    done = headrace("submit", "echo", "1", "--wait")
    assert (done.exit_code, json.loads(done.stdout)) == (0, {"b": 2})


def test_a_job_that_failed_is_exit_1(server: FakeServer) -> None:
    server.on(*SUBMIT, (202, job()))
    server.on(*JOB, (200, job("failed", error=problem("model_error"))))
    done = headrace("submit", "echo", "1", "--wait")
    assert (done.exit_code, done.stdout) == (1, "")
    assert "model_error that is why" in done.stderr
    shown = headrace("submit", "echo", "1", "--wait", "--json")
    assert (shown.exit_code, json.loads(shown.stdout)["status"]) == (1, "failed")


def test_follow_tells_changes_once(server: FakeServer) -> None:
    server.on(*SUBMIT, (202, job()))
    half = {"fraction": 0.5, "message": "half"}
    server.on(
        *JOB,
        (200, job("running")),
        (200, job("running", progress=half)),
        (200, job("running", progress=half)),
        (200, job("succeeded", output=3)),
    )
    done = headrace("submit", "echo", "1", "--follow")
    assert done.stdout == "3\n"
    assert done.stderr.splitlines() == [
        "job_1 queued",
        "job_1 running",
        "job_1 running 50% half",
        "job_1 succeeded",
    ]


def test_a_refused_input_is_exit_2_and_names_the_fields(server: FakeServer) -> None:
    wrong = [{"loc": ["body", "input", "n"], "msg": "should be an integer", "type": "int_type"}]
    server.on(*SUBMIT, (422, problem("invalid_input", errors=wrong)))
    done = headrace("submit", "echo", "1")
    assert done.exit_code == 2
    assert "invalid_input" in done.stderr
    assert "body.input.n: should be an integer" in done.stderr


@pytest.mark.parametrize(
    ("status", "code"), [(503, "queue_unavailable"), (429, "rate_limited"), (500, "internal_error")]
)
def test_a_server_that_cannot_is_exit_3(server: FakeServer, status: int, code: str) -> None:
    server.on(*SUBMIT, (status, problem(code)))
    assert headrace("submit", "echo", "1").exit_code == 3


def test_no_server_is_exit_3_and_names_the_address(server: FakeServer) -> None:
    done = headrace("jobs", "ls", "--url", "http://127.0.0.1:9")
    assert done.exit_code == 3
    assert "no answer from http://127.0.0.1:9/v1/jobs" in done.stderr


def test_jobs_ls(server: FakeServer) -> None:
    pages = (200, {"data": [job()], "next_cursor": "c"}), (200, {"data": [job("running")]})
    server.on("GET", "/v1/jobs", *pages)
    done = headrace("jobs", "ls", "--model", "echo", "--status", "queued", "--batch", "bat_1")
    assert done.exit_code == 0
    lines = done.stdout.splitlines()
    assert lines[1].split() == ["job_1", "echo@1", "queued", "normal", "2026-01-01T00:00:00.000Z"]
    assert len(lines) == 3
    assert server.targets[0] == "/v1/jobs?model=echo&status=queued&batch=bat_1&limit=50"


def test_jobs_ls_limit_and_json(server: FakeServer) -> None:
    server.on("GET", "/v1/jobs", (200, {"data": [job(), job()], "next_cursor": "c"}))
    done = headrace("jobs", "ls", "--limit", "3", "--json")
    assert json.loads(done.stdout) == [job()] * 3


def test_jobs_get(server: FakeServer) -> None:
    server.on(*JOB, (200, job(metadata={"a": 1}, output=None)))
    done = headrace("jobs", "get", "job_1")
    assert "id: job_1\n" in done.stdout
    assert 'metadata: {"a": 1}\n' in done.stdout
    assert "output" not in done.stdout
    assert json.loads(headrace("jobs", "get", "job_1", "--json").stdout)["id"] == "job_1"


def test_jobs_watch(server: FakeServer) -> None:
    server.on(*JOB, (200, job("canceled", error=problem("canceled"))))
    done = headrace("jobs", "watch", "job_1")
    assert (done.exit_code, done.stderr.splitlines()[0]) == (1, "job_1 canceled")


def test_jobs_cancel_retry_rm(server: FakeServer) -> None:
    server.on("POST", "/v1/jobs/job_1/cancel", (200, job("canceling")))
    server.on("POST", "/v1/jobs/job_1/retry", (202, job() | {"id": "job_2"}))
    server.on("DELETE", "/v1/jobs/job_1", (204, None))
    assert headrace("jobs", "cancel", "job_1").stdout == "job_1 canceling\n"
    assert headrace("jobs", "retry", "job_1").stdout == "job_2 queued\n"
    assert headrace("jobs", "rm", "job_1").exit_code == 0


def test_a_conflict_is_exit_2(server: FakeServer) -> None:
    server.on("POST", "/v1/jobs/job_1/cancel", (409, problem("not_cancelable")))
    done = headrace("jobs", "cancel", "job_1")
    assert done.exit_code == 2
    assert "not_cancelable" in done.stderr


def test_models(server: FakeServer) -> None:
    card = {
        "name": "echo",
        "state": "ready",
        "description": "Gives back.",
        "queue": {"queued": 2, "running": 1},
        "input_schema": {"type": "object"},
    }
    server.on("GET", "/v1/models", (200, {"data": [card]}))
    server.on("GET", "/v1/models/echo", (200, card))
    listed = headrace("models", "ls").stdout.splitlines()[1].split(maxsplit=4)
    assert listed == ["echo", "ready", "2", "1", "Gives back."]
    assert json.loads(headrace("models", "ls", "--json").stdout) == [card]
    assert "description: Gives back.\n" in headrace("models", "show", "echo").stdout
    assert json.loads(headrace("models", "show", "echo", "--json").stdout) == card


@pytest.mark.parametrize("words", [(), ("nothing",), ("submit",), ("jobs", "get")])
def test_usage_is_exit_2(words: tuple[str, ...]) -> None:
    assert headrace(*words).exit_code == 2


def test_version_and_help() -> None:
    assert headrace("--version").exit_code == 0
    for words in ("up", "api", "worker", "submit", "jobs", "models", "keys"):
        assert headrace(words, "--help").exit_code == 0


def test_the_module_is_the_command() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "headrace", "submit"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2


def test_printing_is_one_line_in_a_pipe(monkeypatch: pytest.MonkeyPatch) -> None:
    from headrace.cli import printing

    out = io.StringIO()
    monkeypatch.setattr(sys, "stdout", out)
    printing.print_json({"a": [1, 2]})
    assert out.getvalue() == '{"a": [1, 2]}\n'
