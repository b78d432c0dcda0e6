"""A whole Headrace on loopback that may be broken: its own Redis, any number of processes."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

from headrace.chaos.api import FINAL, Api
from headrace.chaos.process import Process, alive, children, free_port, tree, until
from headrace.embedded_redis import find_server
from headrace.log_tail import cut_torn_transaction

__all__ = [
    "CHAOS_MODEL",
    "FINAL",
    "Api",
    "Process",
    "Stack",
    "alive",
    "children",
    "free_port",
    "tree",
    "until",
]

#: The code that this process runs, for those it starts: they may be started anywhere.
CODE = Path(__file__).resolve().parents[2]
#: A model that does what it is told and writes each run to the stack's side log.
CHAOS_MODEL = Path(__file__).resolve().parent / "model"

#: Waits until whoever started it is gone, by whatever death, and ends what it left in the folder.
_GUARD = """read -r _
for each in /proc/[0-9]*; do
    [ "$(readlink "$each/cwd")" = "$1" ] && kill -9 "${each#/proc/}"
done"""


class Stack:
    """A Redis, any number of APIs and workers, and one folder for all they write.

    `settings` go to every API and worker as `HEADRACE_<NAME>`. With a folder given, it stays.
    """

    def __init__(
        self, folder: Path | None = None, redis_args: Sequence[str] = (), **settings: str
    ) -> None:
        self._own_folder = folder is None
        # Not in a deep folder: a unix socket's path has room for 107 characters.
        self.folder = folder or Path(tempfile.mkdtemp(prefix="hr-chaos-"))
        self.socket = self.folder / "r.sock"
        self.redis_url = f"unix://{self.socket}"
        self.side_log = self.folder / "runs.jsonl"
        self._settings = settings
        self._processes: list[Process] = []
        self._clients: list[Api] = []
        self._guard: subprocess.Popen[bytes] | None = None
        self.redis = self.process("redis", [*self._redis_command(), *redis_args])
        self.redis.before = partial(cut_torn_transaction, self.folder)

    def __enter__(self) -> Self:
        # A session of its own: what ends our group must not end the one that cleans up after it.
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "guard", str(self.folder)],
            stdin=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self.start_redis()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for api in self._clients:
            api.http.close()
        for process in reversed(self._processes):
            process.kill_tree()
        if self._guard is not None:
            self._guard.kill()
            self._guard.communicate()
        if self._own_folder and "CHAOS_KEEP" not in os.environ:
            until(self._removed, what=f"the end of {self.folder}")

    def _removed(self) -> bool:
        # What was killed may be in the middle of its last write.
        shutil.rmtree(self.folder, ignore_errors=True)
        return not self.folder.exists()

    def _redis_command(self) -> list[str]:
        command = [find_server().path, "--port", "0", "--unixsocket", str(self.socket)]
        command += ["--dir", str(self.folder), "--save", "", "--appendonly", "yes"]
        return [*command, "--appendfsync", "always", "--maxmemory-policy", "noeviction"]

    def start_redis(self) -> None:
        """Start Redis, or start it again on the same data, and wait until it answers."""
        self.redis.start()
        until(self.redis_answers, 60.0, "redis-server")

    def redis_answers(self) -> bool:
        """Whether Redis is up and has read its data."""
        try:
            with socket.socket(socket.AF_UNIX) as client:
                client.settimeout(2)
                client.connect(str(self.socket))
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
        except OSError:
            return False

    def process(
        self, name: str, command: Sequence[str], environment: Mapping[str, str] | None = None
    ) -> Process:
        """Make a process of any command; it is not started yet, and ends with the stack."""
        # Each process starts in the stack's folder: what it must not import by luck is not there.
        given = {"PYTHONPATH": str(CODE), "PYTHONSAFEPATH": "1", **(environment or {})}
        log = self.folder / f"{len(self._processes):02}-{name}.log"
        process = Process(command, log, given)
        self._processes.append(process)
        return process

    def api(self, *, environment: Mapping[str, str] | None = None, **settings: str) -> Api:
        """Start an API and wait until it answers."""
        port = settings.get("api_port") or str(free_port())
        named = self._named({"api_host": "127.0.0.1", "api_port": port, **settings})
        command = [sys.executable, "-P", "-m", "api"]
        process = self.process("api", command, {**named, **(environment or {})}).start()
        api = Api(f"http://127.0.0.1:{port}", process)
        self.keep(api)
        api.up()
        return api

    def worker(
        self,
        model: Path = CHAOS_MODEL,
        *,
        python: str = sys.executable,
        environment: Mapping[str, str] | None = None,
        **settings: str,
    ) -> Process:
        """Start a worker; `Api.ready` waits for its model."""
        named = self._named({"device": "cpu", **settings})
        command = [python, "-P", "-m", "worker", str(model)]
        given = {"CHAOS_LOG": str(self.side_log), **named, **(environment or {})}
        return self.process(f"worker-{model.name}", command, given).start()

    def webhooks(self, part: str = "", **settings: str) -> Process:
        """Start what tells receivers on loopback, or one part of it."""
        # Delays of seconds to hours would make any campaign a day long.
        given = {"webhook_allow": "127.0.0.0/8", "webhook_delay_scale": "0.001", **settings}
        command = [sys.executable, "-P", "-m", "webhooks", *(["--only", part] if part else [])]
        return self.process(f"webhooks-{part or 'all'}", command, self._named(given)).start()

    def run(self, name: str, *command: str, **settings: str) -> Process:
        """Start any other module of ours, as `python -m`."""
        named = {"HEADRACE_" + key.upper(): value for key, value in settings.items()}
        return self.process(name, [sys.executable, "-m", *command], named).start()

    def keep(self, api: Api) -> None:
        """Close this API's connections with the stack."""
        self._clients.append(api)

    def _named(self, settings: dict[str, str]) -> dict[str, str]:
        common = {"redis_url": self.redis_url, "log_format": "json", **self._settings}
        return {"HEADRACE_" + key.upper(): value for key, value in {**common, **settings}.items()}
