"""Scratch roots, made of namespaces and overlays, with no container engine.

This machine stands for the base images: a root is its own root file system with what a stage
writes laid over it. Nothing outside is written, and all of it is gone when the holder ends.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Self

TOOLS = ("unshare", "nsenter", "setpriv", "chroot", "mount", "cp")
#: Where a stage's files lie, seen from inside the namespace.
_BASE = "/mnt"

#: Brings the loopback of the new network up, says so, and lives until its input ends.
_HOLDER = """
import fcntl, socket, struct, sys
with socket.socket() as one:
    fcntl.ioctl(one, 0x8914, struct.pack("16sh", b"lo", 1))
print("ready", flush=True)
sys.stdin.read()
"""


def missing() -> str:
    """Why scratch roots cannot be made here; empty if they can."""
    if sys.platform != "linux" or os.getuid() != 0:
        return "scratch roots need Linux and root (namespaces, overlayfs)"
    lacking = [tool for tool in TOOLS if shutil.which(tool) is None]
    if lacking:
        return f"scratch roots need {', '.join(lacking)}"
    if Path(sys.base_prefix).stat().st_dev != Path("/").stat().st_dev:
        return "Python is not on the root file system, which stands for the base images"
    try:
        with Scratch() as scratch:
            scratch.lay("probe", [])
    except (OSError, subprocess.CalledProcessError, AssertionError) as error:
        return f"this machine does not let mounts be made: {error}"
    return ""


class Scratch:
    """A mount and a network namespace, and the roots in it, for as long as it is entered."""

    def __init__(self) -> None:
        self._layers: dict[str, list[str]] = {}
        self._holder: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        words = ["unshare", "--mount", "--net", "--propagation", "private"]
        self._holder = subprocess.Popen(
            [*words, sys.executable, "-P", "-c", _HOLDER],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"ready\n":
            self.__exit__(None, None, None)
            raise OSError("no namespaces")
        # Apart from the root's own file system: a layer may not lie below the one it covers.
        self.sh(f"mount -t tmpfs -o mode=755 scratch {_BASE}")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._holder is not None:
            self._holder.communicate()

    @property
    def pid(self) -> int:
        """The process that holds the namespaces."""
        assert self._holder is not None
        return self._holder.pid

    def enter(self, *, network: bool) -> list[str]:
        """The words that run a command inside; without `network` it has this machine's."""
        words = ["nsenter", "--target", str(self.pid), "--mount"]
        return [*words, "--net"] if network else words

    def sh(self, script: str) -> str:
        """Run a script in the namespace, as root."""
        words = [*self.enter(network=False), "sh", "-euc", script]
        done = subprocess.run(words, capture_output=True, text=True, check=False)
        assert done.returncode == 0, f"{script}\n{done.stdout}{done.stderr}"
        return done.stdout

    def lay(self, name: str, below: Sequence[str]) -> None:
        """Make a root of these layers and one of its own."""
        lower = ":".join([*reversed(below), "/"])
        folder = f"{_BASE}/{name}"
        options = f"lowerdir={lower},upperdir={folder}/own,workdir={folder}/work"
        self._layers[name] = [*below, f"{folder}/own"]
        self.sh(
            f"mkdir -p {folder}/own {folder}/work {folder}/merged\n"
            f"mount -t overlay overlay -o {options} {folder}/merged\n"
            f"mount -t tmpfs -o mode=1777 tmp {folder}/merged/tmp\n"
            f"mount -t proc proc {folder}/merged/proc\n"
            f"mount --rbind /dev {folder}/merged/dev\n"
            # A link into /run would lead nowhere in there.
            f"if test -L /etc/resolv.conf; then rm {folder}/merged/etc/resolv.conf\n"
            f"cp -L /etc/resolv.conf {folder}/merged/etc/resolv.conf; fi"
        )
        # The interpreter stands for that of the base image, which every user may run.
        for parent in Path(sys.base_prefix).parents:
            self.sh(f"chmod o+x {folder}/merged{parent}")

    def inside(self, name: str) -> str:
        """The path of a root, in the namespace."""
        return f"{_BASE}/{name}/merged"

    def path(self, name: str, path: str) -> Path:
        """A path of a root, as this process can read it."""
        return Path(f"/proc/{self.pid}/root{self.inside(name)}{path}")

    def inhabitants(self) -> list[int]:
        """The processes on this network but the holder, by this machine's numbers."""
        found = []
        network = Path(f"/proc/{self.pid}/ns/net").readlink()
        for each in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                if (each / "ns" / "net").readlink() == network:
                    found.append(int(each.name))
        return [pid for pid in found if pid != self.pid]

    def layers(self, name: str) -> list[str]:
        """The layers of a root, the lowest first."""
        return self._layers[name]


def becoming(user: str) -> list[str]:
    """The words that make a process one of that user, with no rights of root left."""
    uid, _, gid = user.partition(":")
    if uid == "0":
        return []
    # It is cleared where the user changes, so it is asked for again: nobody outlives the tests.
    rights = ["--pdeathsig", "KILL", "--inh-caps=-all", "--bounding-set=-all", "--no-new-privs"]
    return ["setpriv", "--reuid", uid, "--regid", gid, "--clear-groups", *rights]
