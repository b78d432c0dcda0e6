"""What the pods run is what Headrace takes: command lines, settings, the arguments of Redis."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
import redis
import typer

from api.settings import ApiSettings
from headrace.cli import app
from headrace.cli import processes as launching
from headrace.embedded_redis import find_server
from jobs.connection import RedisConnections
from telemetry.settings import PREFIX, SETTINGS
from tests.unit.k8s.rendered import Pod, rendered
from tests.unit.k8s.test_chart_pods import EVERY, each_case, pods
from webhooks.settings import WebhookSettings
from worker.settings import WorkerSettings

CLASSES = {
    "api": ApiSettings,
    "worker": WorkerSettings,
    "cards": WorkerSettings,
    "sender": WebhookSettings,
    "retries": WebhookSettings,
    "cron": WebhookSettings,
}
OURS = tuple(each for each in EVERY if each != "redis")
#: What a Secret may hold, by the variable that it is for.
SECRETS = {
    "HEADRACE_REDIS_URL": "redis+cluster://:word@redis-a:6379",
    "HEADRACE_RQ_REDIS_URL": "rediss://:word@redis-b:6379",
    "HEADRACE_WEBHOOK_SECRET": "whsec_" + "A" * 32,
    "HEADRACE_API_KEY": "hr_" + "a" * 12 + "_" + "b" * 43,
    "HEADRACE_DOCS": "off",
    "REDIS_PASSWORD": "word",
}


def environment(case: str, pod: Pod) -> dict[str, str]:
    """The container's variables, with what Secrets hold, and $(…) put in as a kubelet does."""
    found: dict[str, str] = {}
    for name, value in pod.env(rendered(case).config).items():
        text = SECRETS[name] if value.startswith("secret:") else value
        for other, known in found.items():
            text = text.replace(f"$({other})", known)
        found[name] = text
    return found


def parsed(words: list[str]) -> dict[str, Any]:
    """The options of a command line, as the real one reads them; nothing is run."""
    command: Any = typer.main.get_command(app)
    context = command.make_context("headrace", list(words))
    while hasattr(command, "resolve_command"):
        rest = [*context._protected_args, *context.args]
        name, command, rest = command.resolve_command(context, rest)
        context = command.make_context(name, rest, parent=context)
    return {"command": context.command_path, **context.params}


@pods(*OURS)
def test_the_environment_is_of_settings_that_there_are_each_once(case, pod):
    names = [each["name"] for each in pod.main["env"]]
    assert len(set(names)) == len(names)
    ours = {name for name in environment(case, pod) if name.startswith("HEADRACE")}
    assert {name.removeprefix(PREFIX) for name in ours} <= SETTINGS.keys()


@each_case
def test_each_process_reads_its_settings(case, monkeypatch):
    for pod in rendered(case).pods_of(*CLASSES):
        with monkeypatch.context() as patch:
            for name in [each for each in os.environ if each.startswith(PREFIX)]:
                patch.delenv(name)
            given = environment(case, pod)
            for name, value in given.items():
                patch.setenv(name, value)
            settings = CLASSES[pod.component].read()
        assert settings.redis_url == given["HEADRACE_REDIS_URL"]
        assert str(settings.namespace) == given.get("HEADRACE_NAMESPACE", "hr")
        if pod.component not in {"api", "cards"}:
            assert settings.probe_host in {"0.0.0.0", "::"}, "a kubelet does not reach loopback"
        if pod.component == "api":
            assert not settings.may_answer_anybody
            assert settings.keys_file is not None


@pods(*OURS)
def test_the_command_line_is_read_by_the_real_one(case, pod):
    assert pod.main["command"] == ["headrace"]
    read = parsed(pod.main["args"])
    commands = {"api": "api", "worker": "worker", "cards": "worker", "test": "submit"}
    wanted = commands.get(pod.component, "webhooks run")
    assert read["command"] == f"headrace {wanted}"
    if pod.component in {"worker", "cards"}:
        [folder] = read["models"]
        assert Path(folder).is_absolute()
        assert read["publish_cards"] is (pod.component == "cards")
    if wanted == "webhooks run":
        assert read["only"].value == pod.component


@pods("api", "worker", "cards", "sender", "retries", "cron")
def test_a_command_becomes_its_process(case, pod):
    became: list[list[str]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(launching.os, "execve", lambda _, words, __: became.append(words))
        app(pod.main["args"], standalone_mode=False)
    [[python, *words]] = became
    assert python == sys.executable
    module = {"api": "api", "worker": "worker", "cards": "worker"}.get(pod.component, "webhooks")
    assert words[:3] == ["-P", "-m", module]


@pods("test")
def test_helm_test_submits_the_input_that_was_given(case, pod):
    read = parsed(pod.main["args"])
    entry = pod.labels["headrace/model"]
    model = rendered(case).values["models"][entry]
    target = [model.get("name", entry), model.get("version")]
    assert read["model"] == "@".join(filter(None, target))
    # A kubelet writes $ for $$, and puts in nothing for it.
    assert json.loads(read["value"].replace("$$", "$")) == model["testInput"]
    assert read["wait"] is True
    url = environment(case, pod)["HEADRACE_URL"]
    service, port = url.removeprefix("http://").split(":")
    ports = rendered(case).named("Service", service)["spec"]["ports"]
    assert int(port) in {each["port"] for each in ports}


@pytest.mark.parametrize("case", ["trial", "redis-password"])
def test_headrace_trusts_the_bundled_redis(case, tmp_path):
    [pod] = rendered(case).pods_of("redis")
    words = [word.replace("$(REDISCLI_AUTH)", "word") for word in pod.main["args"]]
    words[words.index("--dir") + 1] = str(tmp_path)
    words += ["--port", "0", "--unixsocket", f"{tmp_path}/r"]
    password = ":word@" if case == "redis-password" else ""
    url = f"unix://{password}{tmp_path}/r"
    with subprocess.Popen([find_server().path, *words], stdout=subprocess.DEVNULL) as server:
        try:
            _await(url)
            assert asyncio.run(_verified(url)) == []
        finally:
            server.kill()


def _await(url: str) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            redis.Redis.from_url(url).ping()
        except redis.ConnectionError:
            assert time.monotonic() < deadline
            time.sleep(0.02)
        else:
            return


async def _verified(url: str) -> list[str]:
    async with RedisConnections(url, durability="always") as connections:
        return await connections.verify()
