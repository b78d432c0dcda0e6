"""`headrace worker --publish-cards`: a model takes jobs before it has a worker, and wakes one."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from jobs.cards import CardStore

ECHO = Path(__file__).parents[3] / "examples" / "echo"


def publish(redis_url: str, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    words = [sys.executable, "-P", "-m", "headrace", "worker", "--publish-cards"]
    return subprocess.run(
        [*words, *map(str, arguments)],
        env={**kept, "HEADRACE_REDIS_URL": redis_url, "HEADRACE_LOG_FORMAT": "json"},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


def folder(path: Path, version: str, code: str | None = None) -> Path:
    path.mkdir(exist_ok=True)
    (path / "model.toml").write_text(f'name = "late"\nversion = "{version}"\n')
    (path / "model.py").write_text(code or (ECHO / "model.py").read_text())
    return path


async def card(api: Any, version: str) -> dict[str, Any]:
    [found] = [each for each in await CardStore(api.redis).entries() if each.version == version]
    return dict(found.card)


async def test_a_cold_model_takes_jobs_and_wants_a_worker(opening, redis_url):
    async with opening() as api:
        done = publish(redis_url, ECHO)
        assert (done.returncode, '"card_published"' in done.stderr) == (0, True), done.stderr
        answer = await api.client.post("/v1/models/echo/jobs", json={"input": {"message": 1}})
        assert answer.status_code == 202, answer.text
        scale = (await api.client.get("/v1/models/echo/scale")).json()
        assert (scale["queued"], scale["workers_ready"], scale["wanted"]) == (1, 0, 1)
        assert (await api.client.get("/v1/models/echo")).json()["state"] == "cold"
        for key in ("cards", "production"):
            assert await api.redis.client.ttl(f"hr:{key}") == -1, "a cold card stays"


async def test_what_a_loaded_model_said_of_itself_is_not_overwritten(opening, redis_url, tmp_path):
    async with opening() as api:
        assert publish(redis_url, folder(tmp_path, "1")).returncode == 0
        known = await card(api, "1")
        loaded = known | {"limits": known["limits"] | {"max_batch": 7}}
        await CardStore(api.redis).publish(json.dumps(loaded).encode(), model="late", version="1")
        done = publish(redis_url, tmp_path)
        assert (done.returncode, '"card_known"' in done.stderr) == (0, True), done.stderr
        assert (await card(api, "1"))["limits"]["max_batch"] == 7


async def test_a_new_version_takes_over_unless_a_worker_serves_the_old_one(
    opening, redis_url, tmp_path
):
    async with opening() as api:
        publish(redis_url, folder(tmp_path, "1"))
        worker = await api.worker("late", "1")
        done = publish(redis_url, folder(tmp_path, "2"))
        assert (done.returncode, "card_left_to_its_worker" in done.stderr) == (0, True)
        assert (await CardStore(api.redis).production())["late"] == "1"
        await worker.queue.leave()
        assert publish(redis_url, tmp_path).returncode == 0
        assert (await CardStore(api.redis).production())["late"] == "2"


def test_redis_is_waited_for_a_while_and_then_named(tmp_path):
    done = publish(f"unix://{tmp_path}/none.sock", ECHO, "--within", "0.5")
    assert done.returncode == 1
    assert "No card was published: " in done.stderr


@pytest.mark.parametrize(
    ("code", "said"),
    [("import no_such_package\n", "no_such_package"), ("import os\nos._exit(3)\n", "code 3")],
)
def test_a_folder_that_cannot_be_imported_is_refused_with_the_reason(
    redis_url, tmp_path, code, said
):
    done = publish(redis_url, folder(tmp_path, "1", code))
    assert done.returncode == 2
    assert said in done.stderr
