"""What is in the three images, and how they start: built and run in scratch roots."""

from __future__ import annotations

import dataclasses
import json
import re
import shutil
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

from headrace.chaos.process import until

from .builder import Builder
from .composition import Composition
from .conftest import ROOT, TARGETS
from .container import Container
from .dockerfile import Dockerfile, Stage

pytestmark = pytest.mark.timeout(600)

OURS = {"api", "egress", "headrace", "jobs", "model_store", "telemetry", "webhooks", "worker"}
#: Prints a line of JSON: which distributions bring which top-level names.
WHO = """
import importlib.metadata, json
print(json.dumps(importlib.metadata.packages_distributions()))
"""
#: Prints which of some modules can be found.
FOUND = """
import importlib.util, json, sys
print(json.dumps([name for name in sys.argv[1:] if importlib.util.find_spec(name)]))
"""
#: Prints the distributions of the environment, with their versions.
INSTALLED = """
import importlib.metadata
print(*(f"{d.name}=={d.version}" for d in importlib.metadata.distributions()), sep="\\n")
"""
#: Prints where something is mounted that can be written.
WRITABLE = """
import json, os, pathlib
mounts = [line.split()[1] for line in pathlib.Path("/proc/self/mounts").read_text().splitlines()]
outer = [at for at in mounts if not at.startswith(("/dev", "/proc"))]
print(json.dumps(sorted({at for at in outer if os.access(at, os.W_OK)})))
"""
GET = """
import sys, urllib.request
print(urllib.request.urlopen(sys.argv[1], timeout=5).read().decode())
"""
PAGE = ROOT / "docs" / "images.md"


def names(lines: list[str]) -> set[str]:
    """Pins by their normal names."""
    pins = [line.partition("==") for line in lines if "==" in line]
    return {f"{re.sub('[-_.]+', '-', name).lower()}=={number}" for name, _, number in pins}


def version() -> str:
    """The project's."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    return str(project["version"])


@pytest.fixture
def services(built: Builder, tmp_path: Path) -> Iterator[Composition]:
    """The services of compose.yaml; none runs yet."""
    composition = Composition(built, tmp_path)
    yield composition
    composition.kill()
    until(lambda: not built.scratch.inhabitants(), 60, "nothing that was started is left")


def run(built: Builder, image: str, folder: Path, *words: str) -> str:
    """Run a command in an image instead of its entry point; what it printed."""
    config = dataclasses.replace(built.configs[image], entrypoint=[])
    log = folder / "run.log"
    log.unlink(missing_ok=True)
    container = Container(built.scratch, image, config, log).start(words)
    assert container.wait() == 0, container.said()
    return container.said()


@pytest.mark.parametrize("target", TARGETS)
def test_our_names_belong_to_us_alone(built: Builder, target: str, tmp_path: Path) -> None:
    brought = json.loads(run(built, target, tmp_path, "python", "-c", WHO))
    assert {name: brought[name] for name in OURS} == {name: ["headrace"] for name in OURS}
    assert {name for name, by in brought.items() if "headrace" in by} == OURS


@pytest.mark.parametrize("target", TARGETS)
def test_what_is_installed_is_what_the_constraints_say(
    built: Builder, target: str, tmp_path: Path
) -> None:
    there = names(run(built, target, tmp_path, "python", "-c", INSTALLED).splitlines())
    pinned = names((ROOT / "constraints.txt").read_text().splitlines())
    outside = {each for each in there - pinned if not each.startswith(("pip==", "setuptools=="))}
    assert outside == {f"headrace=={version()}"}
    assert len(there) > 20


@pytest.mark.parametrize("target", TARGETS)
def test_no_image_has_torch(built: Builder, target: str, tmp_path: Path) -> None:
    words = ["python", "-c", FOUND, "torch", "numpy", "hatchling"]
    assert json.loads(run(built, target, tmp_path, *words)) == []


@pytest.mark.parametrize("target", ["api", "webhooks"])
def test_what_serves_requests_installs_nothing(built: Builder, target: str, tmp_path: Path) -> None:
    for python in ("/opt/headrace/bin/python", f"{sys.base_prefix}/bin/python3"):
        found = run(built, target, tmp_path, python, "-c", FOUND, "pip", "ensurepip", "json")
        assert json.loads(found) == ["json"]
        programs = built.scratch.path(target, str(Path(python).parent)).glob("pip*")
        assert list(programs) == []


@pytest.mark.parametrize("target", TARGETS)
def test_the_user_has_a_name_and_no_rights(built: Builder, target: str, tmp_path: Path) -> None:
    code = "import getpass, os, pathlib; print(os.getuid(), getpass.getuser(), pathlib.Path.home())"
    assert run(built, target, tmp_path, "python", "-c", code).split() == [
        *("10001", "headrace", "/tmp"),
    ]
    status = run(built, target, tmp_path, "cat", "/proc/self/status")
    assert re.search(r"CapEff:\s+0+$", status, re.MULTILINE)


@pytest.mark.parametrize("target", TARGETS)
def test_only_tmp_can_be_written(built: Builder, target: str, tmp_path: Path) -> None:
    assert json.loads(run(built, target, tmp_path, "python", "-c", WRITABLE)) == ["/tmp"]


@pytest.mark.parametrize(
    ("target", "command"),
    [("api", ["api"]), ("webhooks", ["webhooks", "run"]), ("worker", ["worker", "/models/echo"])],
)
def test_a_file_of_the_folder_does_not_stand_in_for_a_package(
    built: Builder, target: str, command: list[str], tmp_path: Path
) -> None:
    here = tmp_path / "here"
    here.mkdir()
    for name in (*OURS, "redis", "uvloop"):
        (here / f"{name}.py").write_text("raise SystemExit('it was imported')\n")
    config = dataclasses.replace(built.configs[target], folder="/here")
    # A setting that none knows: whoever says so has imported all that it needs.
    config.environment = {**config.environment, "HEADRACE_NO_SUCH": "1"}
    container = Container(built.scratch, target, config, tmp_path / "log")
    container.bind(str(here), "/here", read_only=True)
    assert container.start(command).wait() == 2
    assert "HEADRACE_NO_SUCH is not a setting" in container.said()
    # Without the variable, Python takes the folder for a place of packages.
    config.environment = {**config.environment, "PYTHONSAFEPATH": ""}
    config.entrypoint = []
    container = Container(built.scratch, target, config, tmp_path / "unsafe")
    container.bind(str(here), "/here", read_only=True)
    assert container.start(["python", "-c", "import jobs"]).wait() == 1
    assert "it was imported" in container.said()


def test_a_worker_without_a_folder_says_what_it_needs(built: Builder, tmp_path: Path) -> None:
    log = tmp_path / "log"
    container = Container(built.scratch, "worker", built.configs["worker"], log).start()
    assert container.wait() == 2
    assert "Missing argument 'DIR...'" in container.said()


def test_a_data_folder_that_cannot_be_written_is_named(built: Builder, tmp_path: Path) -> None:
    config = dataclasses.replace(built.configs["worker"])
    config.environment = {**config.environment, "HEADRACE_DATA_DIR": "/var/lib/headrace"}
    container = Container(built.scratch, "worker", config, tmp_path / "log")
    container.bind(str(ROOT / "examples" / "echo"), "/models/echo", read_only=True)
    assert container.start(["worker", "/models/echo"]).wait() == 2
    assert "set HEADRACE_DATA_DIR to a folder that can" in container.said()


def test_an_api_that_others_reach_needs_a_key_first(services: Composition, tmp_path: Path) -> None:
    services.redis()
    api = services.start("api", {"HEADRACE_INSECURE": "false"})
    assert api.wait() == 2
    assert "There is no API key" in api.said()


def test_the_services_of_compose_run_a_job_and_end_in_order(
    services: Composition, tmp_path: Path
) -> None:
    redis = services.redis()
    started = {
        # More than one, as process 1 is then a parent.
        "api": services.start("api", {"HEADRACE_API_WORKERS": "2"}),
        "webhooks": services.start("webhooks"),
        "echo": services.start("echo"),
    }
    for name, container in started.items():
        until(lambda n=name, c=container: services.healthy(n, c), 120, f"{name} is healthy")
    asked = started["api"].execute(
        ["headrace", "submit", "echo", '{"message": "out of a box"}', "--wait"]
    )
    assert (asked.returncode, json.loads(asked.stdout)) == (0, {"message": "out of a box"})
    metrics = {"api": 9100, "webhooks": 9101, "echo": 9110}
    for name, port in metrics.items():
        said = started[name].execute(["python", "-c", GET, f"http://127.0.0.1:{port}/metrics"])
        assert "headrace_build_info" in said.stdout, (name, said.stderr)
    live = started["api"].execute(["python", "-c", GET, "http://127.0.0.1:8000/livez"])
    assert live.returncode == 0
    for name, container in started.items():
        assert container.stop() == 0, (name, container.said())
        assert "Traceback" not in container.said(), container.said()
        assert "api_process_died" not in container.said(), container.said()
    assert redis.stop() == 0


def test_the_three_lines_add_a_models_packages(
    built: Builder, services: Composition, tmp_path: Path
) -> None:
    [text] = re.findall(r"```dockerfile\n(FROM .*?)```", PAGE.read_text(), re.DOTALL)
    assert len(text.splitlines()) == 3
    [folder] = re.findall(r"^COPY (\S+)/? ", text, re.MULTILINE)
    model = tmp_path / "context" / folder
    shutil.copytree(Path(__file__).parent / "models" / "sorted", model)
    file = Dockerfile(text.replace("FROM headrace-worker", "FROM worker"), only="derived")
    file.stages["worker"] = Stage("worker", "")
    built.configs.pop("derived", None)
    config = built.build(file, "derived", tmp_path / "context")
    assert (config.user, config.entrypoint) == ("10001:10001", ["headrace"])
    services.redis()
    services.start("api")
    log = tmp_path / "derived.log"
    environment = services.services["echo"]["environment"]
    config = dataclasses.replace(config, environment={**config.environment, **environment})
    worker = Container(built.scratch, "derived", config, log)
    worker.bind(str(services.hosts), "/etc/hosts")
    services.running.append(worker.start(["worker", f"/models/{folder}"]))
    until(lambda: services.healthy("echo", worker), 120, worker.said)
    words = ["headrace", "submit", folder, '{"numbers": [3, 1, 2]}', "--wait"]
    asked = services.running[1].execute(words)
    assert json.loads(asked.stdout) == {"numbers": [1, 2, 3]}, asked.stderr
    assert worker.stop() == 0


def test_a_models_packages_may_not_change_headraces_own(built: Builder, tmp_path: Path) -> None:
    config = dataclasses.replace(built.configs["worker"], entrypoint=[])
    container = Container(built.scratch, "worker", config, tmp_path / "log")
    assert container.start(["pip", "install", "--no-index", "redis<7"]).wait() == 1
    assert "conflict" in container.said().lower(), container.said()
