"""compose.yaml with and without a GPU: valid, and true of what it starts."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

from telemetry.settings import PREFIX, SETTINGS

from .composition import FILES, read, target_of
from .conftest import ROOT, TARGETS
from .dockerfile import Dockerfile

SERVICES = read("compose.yaml")["services"]
OURS = [name for name in SERVICES if name != "redis"]
#: What a service of a target of its own or of an image made of it is.
PROCESS = {"api": "api", "webhooks": "webhooks", "echo": "worker", "embed": "worker"}


def words(service: dict[str, Any]) -> dict[str, str]:
    """The value after each option of Redis' command line."""
    command = service["command"]
    return dict(zip(command[1::2], command[2::2], strict=True))


@pytest.mark.parametrize("name", FILES)
def test_it_is_valid_by_the_specification(name: str) -> None:
    check = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    done = subprocess.run([*check, name], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_there_is_a_service_for_each_target() -> None:
    assert set(OURS) == set(PROCESS)
    assert {target_of(SERVICES, name) for name in OURS} - {None} == set(TARGETS)
    for name in OURS:
        assert SERVICES[name]["image"].startswith("headrace-")


def test_redis_keeps_what_it_was_given() -> None:
    settings = words(SERVICES["redis"])
    assert settings["--appendonly"] == "yes"
    assert settings["--appendfsync"] == "always"
    assert settings["--maxmemory-policy"] == "noeviction"
    assert settings["--maxmemory"] == "1gb"
    assert settings["--save"] == ""
    assert SERVICES["redis"]["volumes"] == ["redis:/data"]


@pytest.mark.parametrize("name", OURS)
def test_a_service_has_a_read_only_root_and_no_rights(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["tmpfs"] == "/tmp"
    assert service["cap_drop"] == ["ALL"]
    assert service["security_opt"] == ["no-new-privileges:true"]
    assert not {"user", "privileged", "cap_add"} & set(service)


@pytest.mark.parametrize("files", [FILES[:1], FILES], ids=["cpu", "gpu"])
def test_variables_are_settings_of_their_process(files: tuple[str, ...]) -> None:
    for name, process in PROCESS.items():
        environment = read(*files)["services"][name]["environment"]
        assert environment["HEADRACE_REDIS_URL"] == "redis://redis:6379/0"
        for variable in environment:
            assert process in SETTINGS[variable.removeprefix(PREFIX)].read_by, variable


@pytest.mark.parametrize("name", OURS)
def test_a_command_is_one_of_the_command_line(name: str, dockerfile: Dockerfile) -> None:
    command = SERVICES[name].get("command") or dockerfile.config(PROCESS[name]).command
    names = [word for word in command if not word.startswith("/")]
    done = subprocess.run(
        [sys.executable, "-m", "headrace", *names, "--help"],
        cwd=ROOT,
        capture_output=True,
        check=False,
    )
    assert done.returncode == 0


@pytest.mark.parametrize("name", OURS)
def test_a_stop_is_given_the_time_to_drain(name: str) -> None:
    default = SETTINGS["DRAIN_S"].default
    assert isinstance(default, int)
    assert SERVICES[name]["stop_grace_period"] == f"{default + 15}s"


@pytest.mark.parametrize("name", OURS)
def test_a_health_check_asks_the_port_that_is_served(name: str, dockerfile: Dockerfile) -> None:
    ports = dockerfile.config(PROCESS[name]).ports
    [_, python, _, code] = SERVICES[name]["healthcheck"]["test"]
    assert python == "python"
    assert f"http://127.0.0.1:{ports[0]}/healthz" in code


def test_only_the_api_is_published_and_to_this_machine_alone() -> None:
    published = {name: each["ports"] for name, each in SERVICES.items() if "ports" in each}
    assert published == {"api": ["127.0.0.1:8000:8000"]}


def test_the_gpu_is_the_models_that_needs_it() -> None:
    plain, gpu = (read(*files)["services"] for files in (FILES[:1], FILES))
    assert not any("deploy" in service for service in plain.values())
    assert [name for name, service in gpu.items() if "deploy" in service] == ["embed"]
    [device] = gpu["embed"]["deploy"]["resources"]["reservations"]["devices"]
    assert device == {"driver": "nvidia", "count": 1, "capabilities": ["gpu"]}
    assert gpu["embed"]["environment"]["HEADRACE_DEVICE"] == "cuda"


def test_embed_is_built_on_the_worker_of_this_file() -> None:
    build = SERVICES["embed"]["build"]
    folder = ROOT / build["context"]
    [base] = [line for line in (folder / "Dockerfile").read_text().splitlines() if "FROM" in line]
    [(name, source)] = build["additional_contexts"].items()
    assert base == f"FROM {name}"
    kind, _, service = source.partition(":")
    assert (kind, SERVICES[service]["build"]["target"]) == ("service", "worker")
    assert SERVICES["embed"]["command"] == ["worker", f"/models/{folder.name}"]
