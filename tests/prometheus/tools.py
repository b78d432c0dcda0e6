"""Prometheus and promtool as Debian ships them: those of the machine, or unpacked for the tests."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest


@dataclass(frozen=True)
class Tools:
    """Where the two programs are."""

    prometheus: str
    promtool: str


def found(folder: Path) -> Tools:
    """Find both on the PATH, else fetch Debian's package and unpack it into a folder.

    It is not installed: that would start a server and leave it running. What cannot be had on this
    machine is skipped; where it should be there and is not, that is an error.
    """
    server, tool = shutil.which("prometheus"), shutil.which("promtool")
    if server and tool:
        return Tools(server, tool)
    if not (shutil.which("apt-get") and shutil.which("dpkg-deb")):
        pytest.skip("needs prometheus and promtool on the PATH: they come with Prometheus")
    return _unpacked(folder)


def _unpacked(folder: Path) -> Tools:
    if not _apt(folder, "download", "prometheus"):
        if os.geteuid() != 0:
            pytest.skip("needs prometheus and promtool: apt-get install prometheus")
        _apt(folder, "update", check=True)
        _apt(folder, "download", "prometheus", check=True)
    [package] = folder.glob("prometheus_*.deb")
    subprocess.run(["dpkg-deb", "-x", package, folder], check=True, timeout=120)
    package.unlink()
    programs = folder / "usr" / "bin"
    return Tools(str(programs / "prometheus"), str(programs / "promtool"))


def _apt(folder: Path, *words: str, check: bool = False) -> bool:
    command = ["apt-get", "-qq", "-o", "APT::Sandbox::User=root", *words]
    done = subprocess.run(
        command, check=False, cwd=folder, capture_output=True, text=True, timeout=300
    )
    if check and done.returncode:
        raise RuntimeError(f"{' '.join(command)}: {done.stderr}")
    return done.returncode == 0
