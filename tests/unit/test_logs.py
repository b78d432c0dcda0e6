import asyncio
import io
import json
import logging
import threading
import warnings

import pytest
import structlog

from telemetry import logs


@pytest.fixture(autouse=True)
def restore():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture
def stream():
    return io.StringIO()


def events(stream):
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_an_event_is_one_json_line_that_names_where_it_comes_from(stream):
    log = logs.get("api.submit")
    logs.configure("json", "api", stream=stream)
    log.info("job_accepted", job_id="job_1")
    [event] = events(stream)
    assert event["event"] == "job_accepted"
    assert event["job_id"] == "job_1"
    assert (event["process"], event["logger"], event["level"]) == ("api", "api.submit", "info")
    assert event["timestamp"].endswith("Z")


def test_bound_fields_hold_inside_the_block_only(stream):
    logs.configure("json", "worker", stream=stream)
    log = logs.get("worker")
    with logs.bound(job_id="job_1", model="echo"):
        log.info("inside")
    log.info("outside")
    inside, outside = events(stream)
    assert (inside["job_id"], inside["model"]) == ("job_1", "echo")
    assert "job_id" not in outside


async def test_bound_fields_of_one_task_do_not_leak_into_another(stream):
    logs.configure("json", "worker", stream=stream)
    log = logs.get("worker")

    async def work(job_id):
        with logs.bound(job_id=job_id):
            await asyncio.sleep(0)
            log.info("worked", expected=job_id)

    await asyncio.gather(*(work(f"job_{number}") for number in range(5)))
    assert all(event["job_id"] == event["expected"] for event in events(stream))
    assert len(events(stream)) == 5


def test_events_of_libraries_come_in_the_same_shape(stream):
    logs.configure("json", "api", stream=stream)
    with logs.bound(request_id="r1"):
        logging.getLogger("redis").warning("lost %s", "connection")
    [event] = events(stream)
    assert event["event"] == "lost connection"
    assert (event["logger"], event["process"], event["request_id"]) == ("redis", "api", "r1")


@pytest.mark.parametrize("library", ["uvicorn.access", "httpx", "aiohttp.access"])
def test_chatter_of_libraries_is_not_heard(stream, library):
    logs.configure("json", "api", stream=stream)
    logging.getLogger(library).info("GET / 200")
    assert events(stream) == []


def test_an_exception_is_in_the_line_with_its_traceback(stream):
    logs.configure("json", "worker", stream=stream)
    try:
        raise ValueError("broken")
    except ValueError:
        logs.get("worker").exception("predict_failed")
    [event] = events(stream)
    assert "ValueError: broken" in event["exception"]
    assert event["level"] == "error"


def test_a_console_traceback_does_not_print_the_locals(stream):
    logs.configure("console", "worker", stream=stream)
    secret = "hr_abc_" + "x" * 8
    try:
        raise ValueError(len(secret))
    except ValueError:
        logs.get("worker").exception("predict_failed")
    assert "Traceback" in stream.getvalue()
    assert secret not in stream.getvalue()


def test_a_value_that_is_no_json_does_not_lose_the_line(stream):
    logs.configure("json", "worker", stream=stream)
    logs.get("worker").info("odd", value=object(), data=b"\xff")
    assert events(stream)[0]["event"] == "odd"


def test_auto_is_json_where_the_stream_is_no_terminal(stream):
    logs.configure("auto", "worker", stream=stream)
    logs.get("worker").info("hello")
    assert events(stream)[0]["event"] == "hello"


def test_events_below_the_level_are_dropped(stream):
    logs.configure("json", "worker", level="warning", stream=stream)
    logs.get("worker").info("quiet")
    logging.getLogger("any").info("quiet")
    logs.get("worker").warning("loud")
    assert [event["event"] for event in events(stream)] == ["loud"]


def test_warnings_become_events(stream):
    logs.configure("json", "worker", stream=stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(True)
        warnings.warn("old thing", UserWarning, stacklevel=1)
    logging.captureWarnings(False)
    assert "old thing" in events(stream)[0]["event"]


class Broken(io.StringIO):
    def write(self, text):
        raise BrokenPipeError


def test_a_reader_that_went_away_does_not_stop_the_work():
    logs.configure("json", "worker", stream=Broken())
    logs.get("worker").info("unheard")
    logging.getLogger("any").warning("unheard")


def test_what_is_bound_for_the_process_is_in_events_of_every_thread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(logs, "_always", {})
    stream = io.StringIO()
    logs.configure("json", "worker", stream=stream)
    logs.bind(worker="w1")
    thread = threading.Thread(target=lambda: logs.get("t").info("there", model="echo"))
    thread.start()
    thread.join()
    assert json.loads(stream.getvalue())["worker"] == "w1"
