"""What the wheel brings: our packages, and no other name."""

from __future__ import annotations

import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

from .conftest import ROOT

OURS = {"api", "egress", "headrace", "jobs", "model_store", "telemetry", "webhooks", "worker"}


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """Built from this tree, by the backend that pyproject.toml names."""
    folder = tmp_path_factory.mktemp("wheel")
    code = "import hatchling.build, sys; print(hatchling.build.build_wheel(sys.argv[1]))"
    words = [sys.executable, "-P", "-c", code, str(folder)]
    subprocess.run(words, cwd=ROOT, check=True, capture_output=True)
    [path] = folder.glob("headrace-*.whl")
    return zipfile.ZipFile(path)


def test_its_names_are_ours_and_no_other(wheel: zipfile.ZipFile) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    about = f"headrace-{project['version']}.dist-info"
    assert {Path(name).parts[0] for name in wheel.namelist()} == OURS | {about}


def test_it_has_every_file_of_the_packages(wheel: zipfile.ZipFile) -> None:
    there = {name for name in wheel.namelist() if ".dist-info/" not in name}
    wanted = {
        str(path.relative_to(ROOT))
        for package in OURS
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert there == wanted
    assert any(name.endswith(".lua") for name in there)


def test_its_one_command_is_headrace(wheel: zipfile.ZipFile) -> None:
    [entries] = [name for name in wheel.namelist() if name.endswith("entry_points.txt")]
    lines = wheel.read(entries).decode().split()
    assert lines == ["[console_scripts]", "headrace", "=", "headrace.cli:main"]
