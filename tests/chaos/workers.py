"""Several workers of one model, each under a name of its own, and what they say in their logs."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from headrace.chaos.stack import CHAOS_MODEL, Api, Process, Stack, until


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


def events(process: Process, name: str) -> list[dict[str, Any]]:
    """What a process has logged under one name."""
    lines = [line for line in process.said().splitlines() if f'"{name}"' in line]
    return [line for line in map(json.loads, lines) if line.get("event") == name]
