"""A Redis that cannot keep the promise: API and worker refuse to start and name what mends it."""

from __future__ import annotations

import contextlib
import os
import socketserver
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from headrace.chaos.process import free_port
from headrace.chaos.stack import CHAOS_MODEL
from tests.redis_nodes import DURABLE, ClusterOf, Server, eventually, replica_of

ROOT = Path(__file__).parents[2]
#: seconds that a process gets to refuse
PATIENCE_S = 40

Opened = contextlib.AbstractContextManager[str]


@contextlib.contextmanager
def server(*arguments: str, url: str = "redis://127.0.0.1:{port}") -> Iterator[str]:
    """A real server with some settings other than they should be."""
    with Server(*DURABLE, *arguments) as running:
        yield url.format(port=running.port)


@contextlib.contextmanager
def a_replica() -> Iterator[str]:
    with Server(*DURABLE) as master, replica_of(master, *DURABLE) as replica:
        eventually(lambda: replica.info("replication")["master_link_status"] == "up")
        yield f"redis://127.0.0.1:{replica.port}"


@contextlib.contextmanager
def a_node_of_a_cluster() -> Iterator[str]:
    with ClusterOf(3) as cluster:
        yield f"redis://127.0.0.1:{cluster.masters[0].port}"


@contextlib.contextmanager
def a_user_without(*rights: str) -> Iterator[str]:
    with Server(*DURABLE) as running:
        running.ask("ACL", "SETUSER", "app", "on", ">secret", "~hr:*", "&hr:*", "+@all", *rights)
        yield f"redis://app:secret@127.0.0.1:{running.port}"


@contextlib.contextmanager
def another_password() -> Iterator[str]:
    with Server(*DURABLE) as running:
        running.ask("CONFIG", "SET", "requirepass", "right")
        yield f"redis://:wrong@127.0.0.1:{running.port}"


@contextlib.contextmanager
def sentinels_of_another() -> Iterator[str]:
    with Server(*DURABLE) as master:
        watch = f"sentinel monitor main 127.0.0.1 {master.port} 1\n"
        with Server(sentinel=watch) as sentinel:
            yield f"redis+sentinel://127.0.0.1:{sentinel.port}/other"


class _Old(socketserver.StreamRequestHandler):
    """As much of a server of another version as a check asks for."""

    info = ""

    def handle(self) -> None:
        while line := self.rfile.readline():
            words = []
            for _ in range(int(line[1:])):
                size = int(self.rfile.readline()[1:])
                words.append(self.rfile.read(size + 2)[:-2].upper())
            self.wfile.write(self._answer(words))

    def _answer(self, words: list[bytes]) -> bytes:
        if words[0] == b"HELLO":
            return b"%1\r\n$5\r\nproto\r\n:3\r\n"
        if words[0] == b"INFO":
            return f"${len(self.info)}\r\n{self.info}\r\n".encode()
        return b"+OK\r\n"


@contextlib.contextmanager
def a_version(info: str) -> Iterator[str]:
    """No such server can be had here, so one that says no more than what it is."""
    handler = type("Old", (_Old,), {"info": info})
    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), handler) as listening:
        listening.daemon_threads = True
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        yield f"redis://127.0.0.1:{listening.server_address[1]}"
        listening.shutdown()
        thread.join()


#: name -> (how to open it, what is said, DURABILITY)
REFUSED: dict[str, tuple[Callable[[], Opened], str, str]] = {
    "evicts": (
        lambda: server("--maxmemory-policy", "allkeys-lru"),
        "CONFIG SET maxmemory-policy noeviction",
        "always",
    ),
    "nothing on disk": (
        lambda: server("--appendonly", "no"),
        "CONFIG SET appendonly yes",
        "everysec",
    ),
    "syncs each second": (
        lambda: server("--appendfsync", "everysec"),
        "CONFIG SET appendfsync always, or set HEADRACE_DURABILITY=everysec",
        "always",
    ),
    "never syncs": (
        lambda: server("--appendfsync", "no"),
        "CONFIG SET appendfsync everysec",
        "everysec",
    ),
    "no sync while rewriting": (
        lambda: server("--no-appendfsync-on-rewrite", "yes"),
        "CONFIG SET no-appendfsync-on-rewrite no",
        "always",
    ),
    "a replica": (a_replica, "Give the master in HEADRACE_REDIS_URL", "always"),
    "a node of a cluster": (
        a_node_of_a_cluster,
        "HEADRACE_REDIS_URL=redis+cluster://host:port",
        "always",
    ),
    "no cluster": (
        lambda: server(url="redis+cluster://127.0.0.1:{port}"),
        "For a single server write redis://host:port",
        "always",
    ),
    "no sentinel": (
        lambda: server(url="redis+sentinel://127.0.0.1:{port}/main"),
        "For a server write redis://host:port",
        "always",
    ),
    "another master": (sentinels_of_another, "they know: main", "always"),
    "a right within scripts": (
        lambda: a_user_without("-zadd"),
        "ACL SETUSER <user> ~hr:* &hr:* +zadd",
        "always",
    ),
    "no scripts": (lambda: a_user_without("-@scripting"), "ACL SETUSER <user>", "always"),
    "wrong password": (
        another_password,
        "refuses the user or password in HEADRACE_REDIS_URL",
        "always",
    ),
    "an old Redis": (
        lambda: a_version("redis_version:6.2.14\r\nredis_mode:standalone\r\nrole:master\r\n"),
        "Redis 6.2.14 is too old",
        "always",
    ),
    "an old Valkey": (
        lambda: a_version("redis_version:7.2.4\r\nvalkey_version:7.1.0\r\nrole:master\r\n"),
        "Valkey 7.1.0 is too old",
        "always",
    ),
}


#: The check is the same; a worker takes longer to start.
ASKED_BY_A_WORKER = {"evicts", "a replica", "no cluster", "a right within scripts"}


def start(
    module: str, url: str, folder: Path, durability: str, *args: str
) -> subprocess.Popen[str]:
    """Start a process of ours on this Redis."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("HEADRACE_")}
    given = {
        "REDIS_URL": url,
        "DURABILITY": durability,
        "LOG_FORMAT": "json",
        "DATA_DIR": str(folder),
        "API_PORT": str(free_port()),
        "DEVICE": "cpu",
    }
    ours = {f"HEADRACE_{name}": value for name, value in given.items()}
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module, *args],
        env={**clean, **ours, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
        cwd=folder,
    )


def ended(process: subprocess.Popen[str]) -> tuple[int, str]:
    """Wait for its end; its exit code and what it said."""
    try:
        _, said = process.communicate(timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        process.kill()
        _, said = process.communicate()
        raise AssertionError(f"it goes on: {said}") from None
    return process.returncode, said


@pytest.mark.parametrize("name", REFUSED)
def test_it_is_refused_and_what_mends_it_is_named(name: str, tmp_path: Path) -> None:
    opened, says, durability = REFUSED[name]
    with opened() as url:
        asked: dict[str, tuple[str, ...]] = {"api": ()}
        if name in ASKED_BY_A_WORKER:
            asked["worker"] = (str(CHAOS_MODEL),)
        for module, args in asked.items():
            code, said = ended(start(module, url, tmp_path, durability, *args))
            assert (code, says in said) == (2, True), said


def test_a_managed_redis_that_hides_its_settings_is_taken_and_called_unverified(
    tmp_path: Path,
) -> None:
    with server("--rename-command", "CONFIG", "") as url:
        heard = {}
        for name, args in {"api": (), "worker": (str(CHAOS_MODEL),)}.items():
            process = start(name, url, tmp_path, "always", *args)
            try:
                heard[name] = next(
                    (line for line in process.stderr or () if "unverified" in line), ""
                )
                assert process.poll() is None
            finally:
                process.terminate()
                process.communicate(timeout=PATIENCE_S)
        assert all("hides its settings" in line for line in heard.values()), heard


def test_what_it_says_of_eviction_is_believed_all_the_same(tmp_path: Path) -> None:
    hidden = ("--rename-command", "CONFIG", "", "--maxmemory-policy", "allkeys-lru")
    with server(*hidden) as url:
        code, said = ended(start("api", url, tmp_path, "always"))
    assert code == 2
    assert "maxmemory-policy noeviction" in said
