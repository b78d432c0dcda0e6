"""Commands of docs/operate.md: those that need no cluster are run, those of helm are rendered."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from headrace.chaos.process import free_port, until
from headrace.chaos.stack import Api, Stack

from .folders import EXAMPLES, ROOT

PAGE = (ROOT / "docs" / "operate.md").read_text()
CHART = ROOT / "k8s" / "headrace"
#: Other ways to say what kubectl is asked about.
KINDS = {"deployment": "Deployment", "statefulset": "StatefulSet", "svc": "Service"}


def blocks(*, runs: bool) -> list[str]:
    """Return the shell blocks of the page that are run, or the others."""
    found = re.findall(r"(<!-- runs -->\n)?```sh\n(.*?)```", PAGE, re.DOTALL)
    return [text for mark, text in found if bool(mark) is runs]


def lines(command: str) -> list[list[str]]:
    """Return the words of each line that is not run and calls this command."""
    every = [line for text in blocks(runs=False) for line in text.splitlines()]
    return [shlex.split(line) for line in every if line.startswith(command + " ")]


@pytest.fixture
def stack() -> Iterator[Stack]:
    with Stack(webhook_allow="127.0.0.0/8") as made:
        yield made


def test_what_needs_no_cluster_runs(stack: Stack) -> None:
    job = _a_data_folder_with_a_job(stack)
    api = stack.api()
    stack.worker(EXAMPLES / "echo")
    stack.webhooks()
    api.ready("echo")
    script = "\n".join(["set -euo pipefail", *blocks(runs=True)])
    (stack.folder / "headrace").write_text(f'#!/bin/sh\nexec {sys.executable} -m headrace "$@"\n')
    (stack.folder / "headrace").chmod(0o755)
    ours = {key: value for key, value in os.environ.items() if not key.startswith("HEADRACE_")}
    environment = {
        **ours,
        "PATH": f"{stack.folder}:{Path(sys.executable).parent}:{os.environ['PATH']}",
        "PYTHONPATH": str(ROOT),
        "HEADRACE_REDIS_URL": stack.redis_url,
        "HEADRACE_URL": api.url,
    }
    done = subprocess.run(
        ["bash", "-c", script],
        cwd=stack.folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=90,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for said in ("shop-backend", "whsec_", '"message":"hello"', '"workers_ready":1'):
        assert said in done.stdout.replace('": ', '":'), done.stdout
    restored = _up(stack, stack.folder / "restored")
    assert restored.get(job)["output"] == {"message": "kept"}


def _a_data_folder_with_a_job(stack: Stack) -> str:
    api = _up(stack, stack.folder / ".headrace")
    api.ready("echo")
    job = api.run("echo", {"message": "kept"})
    assert api.process.stop(40) == 0
    return str(job["id"])


def _up(stack: Stack, folder: Path) -> Api:
    port = free_port()
    words = ["up", str(EXAMPLES / "echo"), "--port", str(port), "--data-dir", str(folder)]
    process = stack.run("up", "headrace", *words, log_format="json")
    api = Api(f"http://127.0.0.1:{port}", process)
    stack.keep(api)
    until(lambda: api.status("/livez") == 200 or not process.running, 60)
    assert process.running, process.said()
    return api


def test_each_command_of_headrace_on_the_page_exists() -> None:
    named = set(re.findall(r"`headrace (.*?)`", PAGE))
    assert len(named) >= 6
    assert [words for words in sorted(named) if not _is_known(words)] == []


def _is_known(words: str) -> bool:
    command = [word for word in words.split() if re.fullmatch(r"[a-z]+", word)]
    asked = [sys.executable, "-m", "headrace", *command, "--help"]
    given = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(asked, env=given, capture_output=True, check=False).returncode == 0


def test_helm_and_kubectl_name_what_the_chart_has() -> None:
    if not (CHART / "Chart.yaml").exists():
        pytest.skip("k8s/headrace is not here")
    helm = pytest.importorskip("helm_python", reason="helm-python-sdk is not installed")
    chart = helm.Chart.load(CHART)
    schema = yaml.safe_load((CHART / "values.schema.json").read_text())
    objects = set()
    changes = [each for each in lines("helm") if each[1] in {"install", "upgrade"}]
    assert len(changes) >= 6
    for words in changes:
        values = _values(words)
        jsonschema.validate(chart.merge_values(values), schema)
        for path, text in chart.render(values, name=words[2], namespace="headrace").items():
            if path.endswith(".yaml"):
                found = [each for each in yaml.safe_load_all(text) if each]
                objects |= {(each["kind"], each["metadata"]["name"]) for each in found}
    for words in lines("kubectl"):
        for kind, name in re.findall(r"(\w+)/([\w-]+)", " ".join(words[1:])):
            if kind in KINDS:
                assert (KINDS[kind], name) in objects, words


def _values(words: list[str]) -> dict[str, Any]:
    """Return what -f and --set say, later ones over earlier ones."""
    [shown] = re.findall(r"```yaml\n# values.yaml\n(.*?)```", PAGE, re.DOTALL)
    values: dict[str, Any] = {}
    for option, given in pairwise(words):
        if option == "-f":
            text = shown if given == "values.yaml" else (ROOT / given).read_text()
            values = _over(values, yaml.safe_load(text))
        if option == "--set":
            path, _, value = given.partition("=")
            # Helm takes a number for one only where it is whole.
            inner: Any = (
                yaml.safe_load(value) if re.fullmatch(r"-?\d+|true|false", value) else value
            )
            for name in reversed(path.split(".")):
                inner = {name: inner}
            values = _over(values, inner)
    return values


def _over(base: dict[str, Any], more: dict[str, Any]) -> dict[str, Any]:
    both = dict(base)
    for name, value in more.items():
        inner = both.get(name)
        deeper = isinstance(inner, dict) and isinstance(value, dict)
        both[name] = _over(inner, value) if deeper else value
    return both


def test_the_page_has_commands_of_each_kind() -> None:
    assert len(blocks(runs=True)) >= 7
    assert {words[1] for words in lines("helm")} == {"install", "test", "upgrade", "rollback"}
