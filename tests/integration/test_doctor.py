"""`headrace doctor` names each fault that is made for real."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import redis
from typer.testing import CliRunner, Result

from headrace.cli import app
from jobs.cards import CardStore
from jobs.worker_queue import HandBack
from tests.conftest import RedisServer
from tests.integration.api.conftest import card_of
from tests.integration.queue_rig import SHARDS, Rig, done

Found = dict[str, Any]
Look = Callable[..., tuple[list[Found], int]]


def headrace(*words: str) -> Result:
    return CliRunner().invoke(app, ["doctor", *words])


@pytest.fixture
def look(redis_url: str, monkeypatch: pytest.MonkeyPatch) -> Look:
    """What the doctor finds that is not ok, and its exit code; in a thread, as it has a loop."""
    monkeypatch.setenv("HEADRACE_REDIS_URL", redis_url)

    def run(*words: str) -> tuple[list[Found], int]:
        result = headrace("--json", *words)
        assert result.stdout, result.output
        return [one for one in json.loads(result.stdout) if one["level"] != "ok"], result.exit_code

    return run


async def found(look: Look, *words: str) -> tuple[list[Found], int]:
    return await asyncio.to_thread(look, *words)


async def publish(rig: Rig, version: str = "1") -> None:
    card = card_of("echo", version, shards=tuple(SHARDS))
    await CardStore(rig.connections).publish(card.to_json(), model="echo", version=version)


async def test_a_healthy_headrace_has_nothing_to_find(rig: Rig, look: Look) -> None:
    await publish(rig)
    worker = await rig.worker()
    for _ in range(3):
        await rig.submit()
    first, second, third = await worker.claim(3, start=True)
    await worker.settle([done(first), done(second, "failed")])
    await worker.hand_back([HandBack(third.id, third.token, charge=True)])
    await worker.beat([], state="ready", stats={})
    assert await found(look, "--strict") == ([], 0)
    told = await asyncio.to_thread(headrace)
    assert told.exit_code == 0
    assert "0 errors, 0 warnings" in told.stdout


def test_without_redis_it_says_how_to_reach_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("HEADRACE_REDIS_URL", raising=False)
    monkeypatch.setenv("HEADRACE_DATA_DIR", str(tmp_path))
    told = headrace()
    assert told.exit_code == 3
    assert "start headrace up, or set HEADRACE_REDIS_URL" in told.stderr


async def test_books_that_do_not_agree_are_named(rig: Rig, look: Look) -> None:
    job = await rig.submit()
    client = rig.connections.client
    await client.hincrby("hr:{s017}:counts:echo", "queued", 2)
    await client.set("hr:{s017}:output:job_gone", "1")
    await client.zrem("hr:{s017}:index:default:echo", job.id)
    faults, code = await found(look)
    assert code == 1
    told = {one["says"].partition(": ")[0] for one in faults if one["name"] == "books"}
    assert told == {
        "3 findings",
        "hr:{s017}:counts:echo",
        "hr:{s017}:output:job_gone",
        "hr:{s017}:index:default:echo",
    }
    assert await found(look, "--quick") == ([], 0)


async def test_failed_jobs_of_before_the_index_are_a_warning(rig: Rig, look: Look) -> None:
    worker = await rig.worker()
    await rig.submit()
    [job] = await worker.claim(1, start=True)
    await worker.settle([done(job, "failed")])
    await worker.beat([], state="ready", stats={})
    await rig.connections.client.delete("hr:{s017}:dead")
    [fault], code = await found(look)
    assert (fault["level"], fault["name"], code) == ("warning", "books", 0)
    assert fault["says"] == "1 failed jobs are not in the index of dead letters"
    assert "It ends by itself" in fault["advice"]


async def test_jobs_held_by_nobody_are_named(rig: Rig, look: Look) -> None:
    worker = await rig.worker("ghost")
    await rig.submit()
    await worker.claim(1, start=True)
    await rig.connections.client.zrem("hr:{s017}:beats", worker.life)
    faults, code = await found(look)
    assert code == 1
    assert any(
        f"held:{worker.life}: 1 jobs of a worker that nobody" in one["says"] for one in faults
    )


async def test_a_silent_worker_is_named_with_what_it_holds(
    rig: Rig, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HEADRACE_BEAT_LIMIT_S", "0.5")
    worker = await rig.worker("frozen")
    await rig.submit()
    await worker.claim(1)
    faults, code = await found(look, "--quick")
    async with asyncio.timeout(20):
        while not code:
            faults, code = await found(look, "--quick")
    [fault] = faults
    assert fault["says"].startswith("frozen has been silent for")
    assert "it holds 1 jobs, and nobody has buried it" in fault["says"]
    assert "Start an API" in fault["advice"]


async def test_a_worker_that_is_not_ready_says_why(rig: Rig, look: Look) -> None:
    worker = await rig.worker("gpu-7")
    await worker.beat([], state="loading", stats={})
    faults, code = await found(look, "--quick")
    assert (faults[0]["level"], code) == ("warning", 0)
    assert (await found(look, "--quick", "--strict"))[1] == 1
    await worker.beat([], state="failed", reason="CUDA is gone", stats={})
    faults, code = await found(look, "--quick")
    assert ([one["says"] for one in faults], code) == (["gpu-7 is failed: CUDA is gone"], 1)


async def test_jobs_that_no_worker_serves_are_named(rig: Rig, look: Look) -> None:
    await publish(rig)
    await rig.submit()
    faults, code = await found(look)
    assert ([one["name"] for one in faults], code) == (["model"], 0)
    assert faults[0]["says"].startswith("1 jobs of echo wait")
    assert faults[0]["advice"] == "Start one: headrace worker echo"
    await publish(rig, "2")
    await rig.submit(version="2")
    await rig.worker()
    [fault] = (await found(look))[0]
    assert fault["says"] == "1 jobs of echo@2 wait, and its workers serve 1"


async def test_clocks_that_are_apart_are_named(
    rig: Rig, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = time.time
    for seconds, level in ((0.0, None), (-5.0, "warning"), (90.0, "error")):
        monkeypatch.setattr("headrace.doctor.server.time.time", lambda s=seconds: real() + s)
        faults, _ = await found(look, "--quick")
        assert [one["level"] for one in faults if one["name"] == "clock"] == [level][: bool(level)]


async def test_a_worker_whose_clock_is_off_is_named(
    rig: Rig, look: Look, monkeypatch: pytest.MonkeyPatch
) -> None:
    worker = await rig.worker("gpu-7")
    real = time.time
    for seconds, level in ((0.0, None), (5.0, "warning"), (-90.0, "error")):
        with monkeypatch.context() as patch:
            patch.setattr("jobs.worker_queue.time.time", lambda s=seconds: real() + s)
            await worker.beat([], state="ready", stats={})
        faults, _ = await found(look, "--quick")
        assert [one["level"] for one in faults] == [level][: bool(level)]
        assert all(one["says"].startswith("the clocks of gpu-7 and Redis are") for one in faults)


async def test_an_api_is_asked_when_it_is_named(rig: Rig, look: Look) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b'{"detail":"no worker is ready"}'
        head = b"HTTP/1.1 503 x\r\ncontent-length: %d\r\nconnection: close\r\n\r\n" % len(body)
        writer.write(head + body)
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as listening:
        url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        faults, code = await found(look, "--quick", "--url", url)
        assert ([one["says"] for one in faults], code) == (
            [f"{url} answers 503: no worker is ready"],
            1,
        )
    faults, code = await found(look, "--quick", "--url", url)
    assert code == 1
    assert faults[0]["says"].startswith(f"no answer from {url}")


async def test_records_of_a_newer_version_are_an_error(rig: Rig, look: Look) -> None:
    await rig.connections.client.set("hr:format", 9)
    faults, code = await found(look, "--quick")
    assert code == 1
    assert "format 9, written by a newer Headrace" in faults[0]["says"]


def test_nothing_is_changed_by_looking(look: Look, redis_server: RedisServer) -> None:
    assert look() == ([], 0)
    with redis.Redis.from_url(redis_server.url) as client:
        assert client.keys("*") == []
