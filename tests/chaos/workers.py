"""Several workers of one model, each under a name of its own, and what they say in their logs."""

from __future__ import annotations

import json
import shutil
from datetime import datetime
from pathlib import Path
from typing import Any

import redis

from headrace.chaos.stack import CHAOS_MODEL, Api, Process, Stack, until
from jobs.shards import shards_for_model


def worker_of(stack: Stack, name: str, model: Path = CHAOS_MODEL, **settings: str) -> Process:
    """Start a worker with a name and a lock of its own: others may serve the same model."""
    own = {"worker_name": name, "data_dir": str(stack.folder / name)}
    return stack.worker(model, **{**own, **settings})


def variant(stack: Stack, name: str, *changes: tuple[str, str]) -> Path:
    """Return the folder of the chaos model under another name, with some of its code replaced."""
    folder = stack.folder / "models" / name
    shutil.copytree(CHAOS_MODEL, folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "model.toml").write_text(f'name = "{name}"\n')
    code = (folder / "model.py").read_text()
    for old, new in changes:
        assert old in code
        code = code.replace(old, new)
    (folder / "model.py").write_text(code)
    return folder


def ready(api: Api, model: str = "chaos") -> int:
    """How many workers of a model are ready."""
    answer = api.call("GET", f"/v1/models/{model}/scale")
    return int(answer.json()["workers_ready"]) if answer.status_code == 200 else 0


def await_ready(api: Api, count: int, model: str = "chaos") -> None:
    """Wait until as many workers are ready."""
    until(lambda: ready(api, model) == count, 300, f"{count} workers of {model} are ready")


class Books:
    """What Redis has of a model's workers and jobs; to wait or to explain, never for a verdict."""

    def __init__(self, stack: Stack, model: str) -> None:
        self._client = redis.Redis.from_url(stack.redis_url)
        self._prefix = f"hr:{{s{shards_for_model(model)[0]:03d}}}:"

    def beat_age_s(self, worker: str) -> float:
        seconds, micro = self._client.time()
        for life, score in self._client.zscan_iter(self._prefix + "beats"):
            if life.decode().startswith(worker + ":"):
                return seconds + micro / 1e6 - score / 1000
        raise LookupError(worker)

    def alive(self) -> set[str]:
        """The lives that are not buried."""
        return {life.decode() for life in self._client.zrange(self._prefix + "beats", 0, -1)}

    def watched(self) -> set[str]:
        """The jobs whose end somebody is told of, as a request is held for it."""
        pattern = self._prefix.replace("{", "[{]") + "job:*"
        keys = list(self._client.scan_iter(pattern, 1000))
        with self._client.pipeline(transaction=False) as asked:
            for key in keys:
                asked.hexists(key, "watch")
            answers = asked.execute()
        return {
            key.decode().rpartition(":")[2] for key, is_ in zip(keys, answers, strict=True) if is_
        }

    def held(self) -> int:
        keys = self._client.keys(self._prefix.replace("{", "[{]") + "held:*")
        return sum(self._client.hlen(key) for key in keys)


def events(process: Process, name: str) -> list[dict[str, Any]]:
    """What a process has logged under one name."""
    # The last line may still be on its way.
    whole = process.said().rpartition("\n")[0]
    lines = [line for line in whole.splitlines() if f'"{name}"' in line]
    return [line for line in map(json.loads, lines) if line.get("event") == name]


def said_at(event: dict[str, Any]) -> float:
    """When it was said (Unix time)."""
    return datetime.fromisoformat(event["timestamp"]).timestamp()
