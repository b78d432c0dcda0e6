"""What the Dockerfile says of itself, read without building it."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from telemetry.settings import PREFIX, SETTINGS

from .conftest import ROOT, TARGETS
from .dockerfile import Copy, Dockerfile, let_through

IGNORE = ROOT / ".dockerignore"
PAGE = (ROOT / "docs" / "images.md").read_text()
EXAMPLES = sorted(ROOT.glob("examples/*/Dockerfile"))


def commands(file: Dockerfile) -> list[list[str]]:
    """Each command of each RUN, as words."""
    scripts = [each for stage in file.stages.values() for each in stage.of("RUN")]
    return [shlex.split(part) for script in scripts for part in script.split("&&")]


def installs(file: Dockerfile) -> list[list[str]]:
    """The commands that bring packages from an index."""
    return [words for words in commands(file) if words[0].endswith("pip") and "install" in words]


def test_the_three_targets_are_there(dockerfile: Dockerfile) -> None:
    assert set(TARGETS) <= set(dockerfile.stages)


def test_bases_are_args_with_a_tag(dockerfile: Dockerfile) -> None:
    assert all(
        re.fullmatch(r"[a-z/]+:\d[\w.-]*-[\w.-]+", each) for each in dockerfile.args.values()
    )
    bases = {stage.base for stage in dockerfile.stages.values()}
    assert bases - set(dockerfile.stages) == set(dockerfile.args.values())


def test_the_workers_base_is_a_cuda_runtime(dockerfile: Dockerfile) -> None:
    [first, *_] = dockerfile.line("worker")
    assert first.base.startswith("nvidia/cuda:12.")
    for slim in ("api", "webhooks"):
        assert dockerfile.line(slim)[0].base.startswith("python:")


@pytest.mark.parametrize("target", TARGETS)
def test_an_image_runs_as_a_number_that_is_not_roots(dockerfile: Dockerfile, target: str) -> None:
    config = dockerfile.config(target)
    assert config.user == "10001:10001"
    assert config.environment["PYTHONSAFEPATH"] == "1"
    assert config.environment["HOME"] == "/tmp"


def test_no_stage_installs_what_builds(dockerfile: Dockerfile) -> None:
    apt = [words for words in commands(dockerfile) if words[0].startswith("apt")]
    [install] = [words for words in apt if "install" in words]
    packages = [word for word in install if not word.startswith("-")]
    assert packages == ["apt-get", "install", "python3", "python3-venv"]
    assert "--no-install-recommends" in install


def test_every_install_is_constrained_and_compiles_nothing(dockerfile: Dockerfile) -> None:
    found = installs(dockerfile)
    assert len(found) == 3
    for words in found:
        assert words[words.index("-c") + 1].endswith("constraints.txt")
        assert "hatchling" in words or "--only-binary=:all:" in words


def test_what_is_built_does_not_reach_a_target_but_by_copy(dockerfile: Dockerfile) -> None:
    for target in TARGETS:
        for stage in dockerfile.line(target):
            copies = [Copy.read(value) for value in stage.of("COPY")]
            assert all(each.stage and each.sources == ["/opt/headrace"] for each in copies)


def test_the_wheel_stage_has_all_packages_and_the_context_lets_them_through(
    dockerfile: Dockerfile,
) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    packages = project["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]
    copies = [Copy.read(value) for value in dockerfile.stages["wheel"].of("COPY")]
    sources = {source for each in copies for source in each.sources}
    assert set(packages) <= sources
    for stage in dockerfile.stages.values():
        for value in stage.of("COPY"):
            copy = Copy.read(value)
            if copy.stage is None:
                assert all(let_through(IGNORE, source) for source in copy.sources), value


@pytest.mark.parametrize(
    "path",
    [
        ".git/config",
        ".venv/bin/python",
        ".headrace/redis/appendonly",
        "tests/conftest.py",
        "api/__pycache__/app.cpython-311.pyc",
    ],
)
def test_the_context_holds_nothing_that_is_not_named(path: str) -> None:
    assert not let_through(IGNORE, path)


@pytest.mark.parametrize("target", TARGETS)
def test_variables_are_settings_of_the_process(dockerfile: Dockerfile, target: str) -> None:
    names = [name for name in dockerfile.config(target).environment if name.startswith(PREFIX)]
    assert names
    for name in names:
        assert target in SETTINGS[name.removeprefix(PREFIX)].read_by, name


@pytest.mark.parametrize("target", TARGETS)
def test_ports_that_are_told_are_those_that_are_served(dockerfile: Dockerfile, target: str) -> None:
    config = dockerfile.config(target)
    served = [int(text) for name, text in config.environment.items() if name.endswith("_PORT")]
    assert config.ports == ([SETTINGS["API_PORT"].default] if target == "api" else []) + served


@pytest.mark.parametrize("target", TARGETS)
def test_a_command_is_one_of_the_command_line(dockerfile: Dockerfile, target: str) -> None:
    config = dockerfile.config(target)
    assert config.entrypoint == ["headrace"]
    done = subprocess.run(
        [sys.executable, "-m", "headrace", *config.command, "--help"],
        capture_output=True,
        text=True,
        check=False,
        cwd=ROOT,
    )
    assert done.returncode == 0, done.stderr
    assert f"headrace {' '.join(config.command)} [OPTIONS]" in done.stdout


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.parent.name)
def test_an_examples_image_is_three_lines(path: Path) -> None:
    folder = f"/models/{path.parent.name}"
    assert path.read_text().splitlines() == [
        "FROM headrace-worker",
        f"COPY . {folder}",
        f"RUN pip install -r {folder}/requirements.txt",
    ]


@pytest.mark.parametrize("target", TARGETS)
def test_the_page_says_how_an_image_is_built_and_what_it_serves(
    dockerfile: Dockerfile, target: str
) -> None:
    assert f"docker build --target {target} -t headrace-{target} .\n" in PAGE
    config = dockerfile.config(target)
    [row] = re.findall(rf"^\| `headrace-{target}` \|(.*)$", PAGE, re.MULTILINE)
    _, runs, ports = row.split("|")[:3]
    assert f"`headrace {' '.join(config.command)}`" in runs
    assert [int(port) for port in re.findall(r"\d+", ports)] == config.ports


def test_the_page_names_files_bases_and_profiles_that_exist(dockerfile: Dockerfile) -> None:
    for name in re.findall(r"-f (\S+)", PAGE):
        assert (ROOT / name).is_file(), name
    assert set(re.findall(r"--profile (\w+)", PAGE)) == {"embed"}
    assert set(re.findall(r"--build-arg (\w+)=", PAGE)) <= set(dockerfile.args)
    [cuda] = re.findall(r"`(nvidia/cuda:\S+)`", PAGE)
    assert cuda == dockerfile.args["CUDA_IMAGE"].replace("-base-", "-cudnn-runtime-")
