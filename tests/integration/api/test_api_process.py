"""The API as processes: starting, refusing to start, draining, replacing what dies."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from api.main import StartRefused, preflight
from api.settings import ApiSettings
from headrace.chaos.process import free_port
from jobs.cards import CardStore
from jobs.connection import RedisConnections
from tests.processes import alive

from .conftest import card_of

ROOT = Path(__file__).parents[3]
KEY = f"hr_{'k' * 12}_{'S' * 43}"


def command_of(url: str, **settings: Any) -> tuple[list[str], dict[str, str]]:
    given = {"redis_url": url, "log_format": "json", **settings}
    environment = {f"HEADRACE_{name.upper()}": str(value) for name, value in given.items()}
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    return [sys.executable, "-P", "-m", "api"], {**clean, "PYTHONPATH": str(ROOT), **environment}


class Running:
    """An API process and where it listens."""

    def __init__(self, process: subprocess.Popen[str], port: int, log: Path) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"
        self.log = log

    def until(self, ready: Callable[[], bool], seconds: float = 30) -> None:
        end = time.monotonic() + seconds
        while not ready():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < end, self.log.read_text()
            time.sleep(0.05)

    def status(self, path: str) -> int:
        try:
            return httpx.get(self.url + path, timeout=5).status_code
        except httpx.HTTPError:
            return 0

    def children(self) -> list[int]:
        found = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in found.split()]

    def stop(self, seconds: float = 20) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)


@contextlib.contextmanager
def running(url: str, folder: Path, **settings: Any) -> Iterator[Running]:
    port = free_port()
    command, environment = command_of(url, api_port=port, **settings)
    log = folder / "api.log"
    with log.open("w") as output:
        process = subprocess.Popen(command, env=environment, stderr=output, text=True, cwd=folder)
        api = Running(process, port, log)
        try:
            api.until(lambda: api.status("/healthz") == 200)
            yield api
        finally:
            if process.poll() is None:
                process.terminate()
                try:
                    process.wait(10)
                except subprocess.TimeoutExpired:
                    process.kill()
                    process.wait()


def publish(url: str) -> None:
    async def publishing() -> None:
        async with RedisConnections(url) as redis:
            await CardStore(redis).publish(card_of("echo").to_json(), model="echo", version="1")

    asyncio.run(publishing())


def refused(url: str, **settings: Any) -> tuple[int, str]:
    command, environment = command_of(url, **{"api_port": free_port(), **settings})
    done = subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=30, check=False
    )
    return done.returncode, done.stderr


def test_sigterm_lets_held_waits_go_and_ends_with_0(redis_url: str, tmp_path: Path) -> None:
    publish(redis_url)
    with running(redis_url, tmp_path) as api:
        answers: list[httpx.Response] = []

        def hold() -> None:
            answers.append(
                httpx.post(
                    f"{api.url}/v1/models/echo/jobs",
                    json={"input": {"text": "a"}},
                    headers={"prefer": "wait=50"},
                    timeout=60,
                )
            )

        holder = threading.Thread(target=hold)
        holder.start()
        api.until(lambda: len(httpx.get(f"{api.url}/v1/jobs").json()["data"]) == 1)
        began = time.monotonic()
        assert api.stop() == 0
        holder.join()
        assert time.monotonic() - began < 5
        assert (answers[0].status_code, answers[0].json()["status"]) == (202, "queued")


def test_a_request_on_its_way_when_sigterm_comes_is_answered(
    redis_url: str, tmp_path: Path
) -> None:
    publish(redis_url)
    with running(redis_url, tmp_path) as api, httpx.Client(base_url=api.url) as client:
        assert "connection" not in client.get("/v1/models").headers
        api.process.send_signal(signal.SIGTERM)
        api.until(lambda: api.status("/livez") == 503)
        # A connection that is kept alive: its next request cannot know.
        answer = client.post("/v1/models/echo/jobs", json={"input": {"text": "a"}})
        assert (answer.status_code, answer.headers["connection"]) == (202, "close")
        assert api.process.wait(10) == 0


def test_an_idle_connection_is_left_to_the_client(redis_url: str, tmp_path: Path) -> None:
    with running(redis_url, tmp_path) as api:
        port = int(api.url.rpartition(":")[2])
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port)) as client:
            client.connect()
            client.auto_open = 0
            client.request("GET", "/livez")
            client.getresponse().read()
            # Longer than a server closes it after by its own default.
            time.sleep(6)
            client.request("GET", "/livez")
            assert client.getresponse().status == 200


def test_sigint_is_an_end_in_order_too(redis_url: str, tmp_path: Path) -> None:
    with running(redis_url, tmp_path) as api:
        api.process.send_signal(signal.SIGINT)
        assert api.process.wait(20) == 0
        events = [json.loads(line)["event"] for line in api.log.read_text().splitlines()]
        assert "api_listens" in events


def test_several_processes_behave_as_one(redis_url: str, tmp_path: Path) -> None:
    metrics = free_port()
    with running(redis_url, tmp_path, api_workers=3, metrics_port=metrics) as api:
        publish(redis_url)
        assert len(api.children()) == 3
        # Each of them hears of the card by itself.
        api.until(lambda: all(api.status("/v1/models/echo") == 200 for _ in range(20)))
        ids = set()
        for _ in range(30):
            answer = httpx.post(
                f"{api.url}/v1/models/echo/jobs",
                json={"input": {"text": "a"}},
                headers={"idempotency-key": "one"},
            )
            assert answer.status_code == 202
            ids.add(answer.json()["id"])
        assert len(ids) == 1
        text = httpx.get(f"http://127.0.0.1:{metrics}/metrics").text
        counted = 'headrace_jobs_submitted_total{model="echo",priority="normal"} 1.0'
        assert counted in text
        posts = [line for line in text.splitlines() if 'method="POST"' in line and "_total" in line]
        assert [line.rpartition(" ")[2] for line in posts] == ["30.0"]
        victim = api.children()[0]
        os.kill(victim, signal.SIGKILL)
        api.until(lambda: victim not in api.children() and len(api.children()) == 3)
        for _ in range(20):
            assert api.status("/livez") == 200
        pids = api.children()
        assert api.stop() == 0
        assert not [pid for pid in pids if alive(pid)]


def test_one_that_died_just_before_is_no_part_of_the_end(redis_url: str, tmp_path: Path) -> None:
    with running(redis_url, tmp_path, api_workers=2) as api:
        victim = api.children()[0]
        os.kill(victim, signal.SIGKILL)
        api.until(lambda: not alive(victim))
        assert api.stop() == 0
        said = [json.loads(line) for line in api.log.read_text().splitlines()]
        died = [line for line in said if line["event"] == "api_process_died"]
        assert [(line["died"], line["exit_code"]) for line in died] == [(victim, -signal.SIGKILL)]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells a child of its parent's end")
def test_processes_end_with_their_parent(redis_url: str, tmp_path: Path) -> None:
    with running(redis_url, tmp_path, api_workers=2) as api:
        pids = api.children()
        api.process.kill()
        api.process.wait()
        end = time.monotonic() + 15
        while any(alive(pid) for pid in pids):
            assert time.monotonic() < end
            time.sleep(0.05)


def test_off_loopback_a_key_is_needed(redis_url: str, tmp_path: Path) -> None:
    code, said = refused(redis_url, api_host="0.0.0.0")
    assert code == 2
    assert "headrace keys create" in said
    assert "--insecure" in said


@pytest.mark.parametrize("settings", [{"insecure": "true"}, {"keys_file": "keys"}])
def test_a_key_or_the_word_opens_every_address(
    redis_url: str, tmp_path: Path, settings: dict[str, str]
) -> None:
    (tmp_path / "keys").write_text(f"{KEY} admin\n")
    with running(redis_url, tmp_path, api_host="0.0.0.0", **settings) as api:
        assert api.status("/v1/jobs") == (401 if "keys_file" in settings else 200)
        headers = {"authorization": f"Bearer {KEY}"}
        assert httpx.get(f"{api.url}/v1/jobs", headers=headers).status_code == 200


def test_while_redis_is_away_a_keys_file_shuts_the_door(tmp_path: Path) -> None:
    away = {"redis_url": f"unix://{tmp_path}/none.sock", "api_host": "0.0.0.0"}
    (tmp_path / "keys").write_text(f"{KEY} admin\n")
    asyncio.run(preflight(ApiSettings(**away, keys_file=tmp_path / "keys")))
    with pytest.raises(StartRefused, match="no API key"):
        asyncio.run(preflight(ApiSettings(**away)))


def test_what_cannot_work_is_named_and_ends_with_2(redis_url: str, tmp_path: Path) -> None:
    bad = tmp_path / "keys"
    bad.write_text("not a key\n")
    for settings, word in (
        ({"api_porr": "1"}, "HEADRACE_API_PORT"),
        ({"api_workers": "0"}, "HEADRACE_API_WORKERS"),
        ({"keys_file": bad}, "line 1"),
        ({"keys_file": tmp_path / "none"}, "cannot be read"),
        ({"redis_url": "http://x"}, "HEADRACE_REDIS_URL"),
        ({"namespace": ""}, "HEADRACE_NAMESPACE"),
    ):
        code, said = refused(redis_url, **settings)
        assert code == 2, (settings, said)
        assert word in said


def test_a_port_in_use_is_named(redis_url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, said = refused(redis_url, api_port=port)
    assert code == 2
    assert str(port) in said


def test_a_redis_that_would_lose_jobs_is_refused(own_redis: Any, tmp_path: Path) -> None:
    import redis

    with redis.Redis.from_url(own_redis.url) as client:
        client.config_set("maxmemory-policy", "allkeys-lru")
    code, said = refused(own_redis.url)
    assert code == 2
    assert "noeviction" in said
