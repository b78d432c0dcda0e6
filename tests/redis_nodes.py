"""Real Redis servers in company: a master with replicas and Sentinels, or a Cluster."""

from __future__ import annotations

import shutil
import signal
import subprocess
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import redis

from headrace.chaos.process import free_port, until
from headrace.embedded_redis import find_server

#: Milliseconds after which Sentinels and nodes take a silent master for dead.
DOWN_AFTER_MS = 1500
DURABLE = ("--appendonly", "yes", "--appendfsync", "always", "--save", "")


class Server:
    """One redis-server (or Sentinel) on a loopback port, with a folder of its own."""

    def __init__(self, *arguments: str, sentinel: str | None = None) -> None:
        self.port = free_port()
        self.folder = Path(tempfile.mkdtemp(prefix="hr-node-"))
        self.command = [find_server().path]
        if sentinel is not None:
            configuration = self.folder / "sentinel.conf"
            configuration.write_text(sentinel)
            self.command += [str(configuration), "--sentinel"]
        self.command += ["--port", str(self.port), "--bind", "127.0.0.1", "--dir"]
        self.command += [str(self.folder), "--daemonize", "no", "--loglevel", "notice", *arguments]
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> Self:
        """Start it (again) and wait until it answers."""
        with (self.folder / "log").open("ab") as output:
            self._process = subprocess.Popen(self.command, stdout=output, stderr=output)
        try:
            until(self.answers, 15, f"the server on port {self.port}")
        except TimeoutError:
            self.kill()
            raise
        return self

    def answers(self) -> bool:
        """Whether it has read its data."""
        try:
            return bool(self.ask("PING"))
        except redis.RedisError:
            return False

    def ask(self, *command: Any) -> Any:
        """Send it one command."""
        # RESP2, whose answers are plain lists in every version.
        with redis.Redis(port=self.port, socket_timeout=5, protocol=2) as client:
            return client.execute_command(*command)

    def info(self, section: str) -> dict[str, Any]:
        """Return a section of its INFO."""
        with redis.Redis(port=self.port, socket_timeout=5) as client:
            found: dict[str, Any] = client.info(section)  # type: ignore[assignment]
        return found

    @property
    def role(self) -> str:
        """What it takes itself for: master or slave."""
        return str(self.info("replication")["role"])

    @property
    def running(self) -> bool:
        """Whether its process is there."""
        return self._process is not None and self._process.poll() is None

    def kill(self) -> None:
        """End it as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def freeze(self) -> None:
        """Stop its process: connections stay, answers do not come."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def thaw(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)


def replica_of(master: Server, *arguments: str) -> Server:
    """Make a replica, not started yet."""
    return Server(*arguments, "--replicaof", "127.0.0.1", str(master.port))


def in_step(master: Server, count: int = 1) -> bool:
    """Whether so many replicas have all that the master has."""
    found = master.info("replication")
    states = [found.get(f"slave{number}", {}) for number in range(found["connected_slaves"])]
    return sum(each.get("state") == "online" for each in states) >= count


class Failover:
    """A master, a replica of it, and three Sentinels that watch them."""

    NAME = "main"

    def __init__(self, *arguments: str) -> None:
        self._arguments = arguments or DURABLE
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        first = self._stack.enter_context(Server(*self._arguments))
        second = self._stack.enter_context(replica_of(first, *self._arguments))
        self.servers = [first, second]
        until(lambda: in_step(first), 20, "the replica is in step")
        watch = (
            f"sentinel monitor {self.NAME} 127.0.0.1 {first.port} 2\n"
            f"sentinel down-after-milliseconds {self.NAME} {DOWN_AFTER_MS}\n"
            f"sentinel failover-timeout {self.NAME} 6000\n"
        )
        self.sentinels = [self._stack.enter_context(Server(sentinel=watch)) for _ in range(3)]
        until(self._complete, 20, "the Sentinels know each other and the replica")
        return self

    def __exit__(self, *failure: Any) -> None:
        self._stack.close()

    def _complete(self) -> bool:
        for sentinel in self.sentinels:
            state = _pairs(sentinel.ask("SENTINEL", "MASTER", self.NAME))
            if state["num-other-sentinels"] != "2" or state["num-slaves"] != "1":
                return False
        return True

    @property
    def url(self) -> str:
        """What HEADRACE_REDIS_URL would be."""
        hosts = ",".join(f"127.0.0.1:{sentinel.port}" for sentinel in self.sentinels)
        return f"redis+sentinel://{hosts}/{self.NAME}"

    @property
    def master(self) -> Server:
        """The master as most of the Sentinels name it."""
        ports = [
            int(sentinel.ask("SENTINEL", "GET-MASTER-ADDR-BY-NAME", self.NAME)[1])
            for sentinel in self.sentinels
        ]
        named = max(set(ports), key=ports.count)
        return next(server for server in self.servers if server.port == named)

    def replaced(self, old: Server) -> bool:
        """Whether another than `old` is the master now, and says so itself."""
        master = self.master
        return master is not old and master.running and master.role == "master"


def _pairs(flat: list[bytes] | dict[Any, Any]) -> dict[str, str]:
    if isinstance(flat, dict):
        return {_text(key): _text(value) for key, value in flat.items()}
    texts = [_text(each) for each in flat]
    return dict(zip(texts[::2], texts[1::2], strict=True))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


class ClusterOf:
    """Masters that share all slots evenly, each with so many replicas."""

    def __init__(self, masters: int = 3, replicas: int = 0) -> None:
        self._counts = masters, replicas
        self._stack = ExitStack()
        self.masters: list[Server] = []
        self.replicas: list[Server] = []

    def _server(self) -> Server:
        server = Server(
            *DURABLE,
            *("--cluster-enabled", "yes", "--cluster-port", str(free_port())),
            *("--cluster-node-timeout", str(DOWN_AFTER_MS)),
        )
        return self._stack.enter_context(server)

    def __enter__(self) -> Self:
        count, each = self._counts
        self.masters = [self._server() for _ in range(count)]
        self.replicas = [self._server() for _ in range(count * each)]
        everybody = [*self.masters, *self.replicas]
        for number, server in enumerate(self.masters):
            # Distinct epochs, as a real creation gives them.
            server.ask("CLUSTER", "SET-CONFIG-EPOCH", number + 1)
            first, last = number * 16384 // count, (number + 1) * 16384 // count - 1
            server.ask("CLUSTER", "ADDSLOTSRANGE", first, last)
        for server in everybody[1:]:
            bus = int(server.command[server.command.index("--cluster-port") + 1])
            everybody[0].ask("CLUSTER", "MEET", "127.0.0.1", server.port, bus)
        until(lambda: all(self._meets(each, everybody) for each in everybody), 20, "all have met")
        for number, replica in enumerate(self.replicas):
            master = self.masters[number % count]
            own = _text(master.ask("CLUSTER", "MYID"))
            until(lambda r=replica, i=own: _replicates(r, i), 20, "the replica knows its master")
        until(lambda: all(_serves(each) for each in everybody), 20, "the Cluster is up")
        if each:
            until(lambda: all(in_step(m, each) for m in self.masters), 20, "replicas are in step")
        return self

    def __exit__(self, *failure: Any) -> None:
        self._stack.close()

    def _meets(self, server: Server, everybody: list[Server]) -> bool:
        lines = _text(server.ask("CLUSTER", "NODES")).splitlines()
        return len(lines) == len(everybody) and not any("handshake" in line for line in lines)

    @property
    def url(self) -> str:
        """What HEADRACE_REDIS_URL would be."""
        return "redis+cluster://" + ",".join(f"127.0.0.1:{each.port}" for each in self.masters)

    def serves(self) -> bool:
        """Whether every running node says that every slot is served."""
        return all(_serves(each) for each in [*self.masters, *self.replicas] if each.running)


def _replicates(replica: Server, master: str) -> bool:
    try:
        replica.ask("CLUSTER", "REPLICATE", master)
    except redis.ResponseError:
        return False
    return True


def _serves(server: Server) -> bool:
    return "cluster_state:ok" in _text(server.ask("CLUSTER", "INFO"))


def eventually(ask: Callable[[], Any], seconds: float = 10.0) -> Any:
    """Ask until the answer is true and nothing of Redis fails."""

    def quietly() -> Any:
        try:
            return ask()
        except redis.RedisError:
            return None

    return until(quietly, seconds)


__all__ = ["ClusterOf", "Failover", "Server", "eventually", "in_step", "replica_of"]
