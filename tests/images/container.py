"""Starts what was built, as a container engine does."""

from __future__ import annotations

import contextlib
import os
import shlex
import signal
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Self

from headrace.chaos.process import children, until

from .dockerfile import Config
from .scratch import Scratch, becoming


class Container:
    """One process tree of an image: its own process numbers, a root that is read-only."""

    def __init__(self, scratch: Scratch, image: str, config: Config, log: Path) -> None:
        self._scratch = scratch
        self._root = scratch.inside(image)
        self._config = config
        self._log = log
        self._binds: list[str] = []
        self._running: subprocess.Popen[bytes] | None = None
        self.read_only = True

    def bind(self, source: str, target: str, *, read_only: bool = False) -> None:
        """Have a folder seen at a path of the root."""
        place = f"{self._root}{target}"
        self._scratch.sh(f"test -e {place} || mkdir -p {place}")
        self._binds.append(f"mount --bind {source} {place}")
        if read_only:
            self._binds.append(f"mount -o remount,bind,ro {place}")

    def start(self, command: Sequence[str] = ()) -> Self:
        """Start its entry point with this command, or its own."""
        words = [*self._config.entrypoint, *(command or self._config.command)]
        # The options that engines give a tmpfs.
        options = "mode=1777,noexec,nosuid,nodev"
        script = [f"mount -t tmpfs -o {options} tmp {self._root}/tmp", *self._binds]
        script += [f"mount -t proc proc {self._root}/proc"]
        if self.read_only:
            script += [f"mount -o remount,bind,ro {self._root}"]
        script += [f"exec {shlex.join(self._inside(['chroot', self._root], words))}"]
        outer = ["setpriv", "--pdeathsig", "KILL", *self._scratch.enter(network=True)]
        outer += ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation"]
        with self._log.open("ab") as output:
            self._running = subprocess.Popen(
                [*outer, "private", "sh", "-euc", "\n".join(script)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={"PATH": os.environ["PATH"]},
            )
        return self

    def _inside(self, first: list[str], words: Sequence[str]) -> list[str]:
        environment = [f"{name}={text}" for name, text in self._config.environment.items()]
        user = becoming(self._config.user)
        return [*first, *user, "env", "-i", "-C", self._config.folder, *environment, *words]

    @property
    def pid(self) -> int:
        """Its first process, by this machine's numbers."""
        assert self._running is not None
        return until(lambda: children(self._running.pid), what=f"a process; {self.said()}")[0]

    def execute(self, words: Sequence[str]) -> subprocess.CompletedProcess[str]:
        """Run a command beside its process, as a health check is."""
        enter = ["nsenter", "--target", str(self.pid), "--mount", "--net", "--pid"]
        inside = self._inside([*enter, "chroot", self._root], words)
        return subprocess.run(inside, capture_output=True, text=True, check=False, timeout=60)

    def wait(self, seconds: float = 120.0) -> int:
        """Wait until it ends; its exit code."""
        assert self._running is not None
        return self._running.wait(seconds)

    def stop(self, seconds: float = 45.0) -> int:
        """End it as an engine does, with a SIGTERM; its exit code."""
        os.kill(self.pid, signal.SIGTERM)
        return self.wait(seconds)

    def kill(self) -> None:
        """End it at once with all that it started."""
        if self._running is not None and self._running.poll() is None:
            # With process 1 of its numbers all others end, and then the one that waits for it.
            for pid in children(self._running.pid) or [self._running.pid]:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            self._running.wait()

    @property
    def running(self) -> bool:
        """Whether it was started and has not ended."""
        return self._running is not None and self._running.poll() is None

    def said(self) -> str:
        """Everything it has printed."""
        return self._log.read_text(errors="replace") if self._log.exists() else ""
