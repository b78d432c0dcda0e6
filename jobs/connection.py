"""Everything of ours speaks to Redis through this, be it one server, the master that Sentinels
name, or a Cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Mapping, Sequence
from types import TracebackType
from typing import Any, Self

from redis import exceptions
from redis.asyncio import Redis
from redis.crc import key_slot

from jobs import keys
from jobs.cluster import Cluster
from jobs.command_keys import key_of, may_repeat
from jobs.errors import NotDurable, QueueFull, QueueUnavailable, WrongRedis
from jobs.node import Commands, Limits, Node
from jobs.record_format import check_format
from jobs.redis_check import check_replicas, check_server
from jobs.redis_errors import WrongKind, translated
from jobs.redis_url import Target, target_of
from jobs.routing import Router
from jobs.scripts import Script
from jobs.shards import SHARDS
from jobs.topology import Alone, Sentinels, Topology

__all__ = ["DURABILITIES", "Node", "RedisConnections", "translated"]

#: Seconds after which an answer is given up; blocking reads use connections of their own.
SOCKET_TIMEOUT_S = 5.0

DURABILITIES = ("always", "everysec", "replicated")


class RedisConnections:
    """Scripts and short commands go to the server of their keys; blocking reads have their own.

    What is safe to repeat is repeated for about a second while servers change places; then, and at
    once for all else, QueueUnavailable is raised. With `fail_fast`, calls to a server that gave no
    answer fail at once until it answers again.
    """

    def __init__(
        self,
        url: str,
        *,
        namespace: str = keys.DEFAULT_NAMESPACE,
        pool_size: int = 16,
        durability: str = "always",
        fail_fast: bool = False,
    ) -> None:
        self._target = target_of(url, SOCKET_TIMEOUT_S)
        if durability not in DURABILITIES:
            raise WrongRedis(f"HEADRACE_DURABILITY is {durability!r}; use one of {DURABILITIES}.")
        self.url = url
        self.namespace = namespace
        self.durability = durability
        self._limits = Limits(pool_size, SOCKET_TIMEOUT_S, fail_fast)
        prefixes = [keys.shard_prefix(namespace, shard) for shard in range(SHARDS)]
        self._places = [(prefix, key_slot(prefix.encode())) for prefix in prefixes]
        self._router: Router | None = None
        self._client: Commands | None = None
        self._watch: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        topology = _topology(self._target, self._limits)
        self._router = Router(topology)
        self._client = _Routed(self)
        with contextlib.suppress(exceptions.RedisError, OSError):
            # Known from the start, where it can be; a call that needs more finds out itself.
            await topology.refresh()
        self._watch = asyncio.create_task(topology.watch(), name="redis-watch")
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.gather(self._watch, return_exceptions=True)
            self._watch = None
        if self._router is not None:
            router, self._router, self._client = self._router, None, None
            await router.topology.close()

    @property
    def _open(self) -> Router:
        if self._router is None:
            raise RuntimeError("RedisConnections is used outside its `async with` block")
        return self._router

    @property
    def client(self) -> Commands:
        """The library's short commands, each sent to the server of its key.

        Use it inside `translated()`. It has no pipelines: what belongs together is a script.
        """
        if self._client is None:
            raise RuntimeError("RedisConnections is used outside its `async with` block")
        return self._client

    @property
    def clustered(self) -> bool:
        """Whether each command and read has to keep to the keys of one slot."""
        return self._target.kind == "cluster"

    def dedicated(self) -> Redis:
        """Return a client with a connection of its own, to any server; the caller closes it.

        For subscriptions: what is published on one server of a Cluster reaches all. Raises
        QueueUnavailable while no server is known. The connection is cut when its server is no
        master any more.
        """
        with translated():
            return self._open.topology.any().reader()

    async def masters(self) -> Sequence[Node]:
        """Return each server that takes writes; raises QueueUnavailable."""
        with translated():
            return await self._open.topology.masters()

    async def by_node(self, shards: Sequence[int]) -> dict[Node, list[int]]:
        """Return the server of each shard, as it is known; raises QueueUnavailable."""
        topology = self._open.topology
        found: dict[Node, list[int]] = {}
        for shard in shards:
            node = topology.at(self._places[shard][1])
            if node is None:
                with translated():
                    await topology.refresh()
                node = topology.at(self._places[shard][1])
            if node is None:
                raise QueueUnavailable(f"No node of the Cluster serves shard {shard}.")
            found.setdefault(node, []).append(shard)
        return found

    async def look_again(self, suspect: Node | None = None) -> None:
        """Find out anew which servers there are, after one failed; raises QueueUnavailable."""
        with translated():
            await self._open.topology.refresh(suspect)

    async def run(self, script: Script, shard: int, args: Sequence[bytes | str | float]) -> Any:
        """Run a script on a shard.

        Raises QueueUnavailable when no answer came (the script may have run), QueueFull when
        memory is full, NotDurable when too few replicas have it.
        """
        router = self._open
        prefix, slot = self._places[shard]
        confirm = script.told and self.durability == "replicated"
        node, failure = router.topology.at(slot), None
        with translated():
            if node is not None and not confirm:
                # The way of nearly all calls, without a step that it does not need.
                try:
                    return await node.calls.send(("EVALSHA", script.sha, 1, prefix, *args))
                except (exceptions.RedisError, OSError) as error:
                    failure = error

            async def ask(node: Node) -> Any:
                return await node.run(script, prefix, args, confirm=confirm)

            if failure is None or isinstance(failure, exceptions.NoScriptError):
                return await router.ask(slot, ask, repeat=script.repeatable)
            return await router.again(slot, ask, node, failure, script.repeatable)

    async def run_each(
        self, script: Script, args: Mapping[int, Sequence[bytes | str | float]]
    ) -> tuple[dict[int, Any], QueueUnavailable | NotDurable | None]:
        """Run a script on several shards at once; return the answers and the first failure.

        A shard whose server is away must not keep the others from what they need.
        """
        if len(args) == 1:
            [(shard, own)] = args.items()
            return {shard: await self.run(script, shard, own)}, None
        calls = [self.run(script, shard, own) for shard, own in args.items()]
        results = await asyncio.gather(*calls, return_exceptions=True)
        answers: dict[int, Any] = {}
        failure = None
        for shard, result in zip(args, results, strict=True):
            if isinstance(result, QueueUnavailable | NotDurable):
                failure = failure or result
            elif isinstance(result, BaseException):
                raise result
            else:
                answers[shard] = result
        return answers, failure

    async def command(self, command: Sequence[Any]) -> Any:
        """Send one command to the server of its key; use it inside `translated()`."""
        key = key_of(command)
        if key is None and self.clustered:
            raise NotImplementedError(f"{command[0]} is for one server; ask each of masters()")
        slot = 0 if key is None else key_slot(key)

        async def ask(node: Node) -> Any:
            return await node.calls.send(command)

        return await self._open.ask(slot, ask, repeat=may_repeat(command))

    async def check(self) -> None:
        """Raise QueueUnavailable or NotDurable unless jobs can be accepted durably now."""
        with translated():
            for node in await self._open.topology.masters():
                await node.client.ping()
                if self.durability == "replicated":
                    check_replicas(node, await node.client.info("replication"))

    async def healthy(self) -> bool:
        """Say whether Redis answers now, and can accept jobs durably."""
        try:
            await self.check()
        except (QueueUnavailable, QueueFull, NotDurable, WrongRedis):
            return False
        return True

    async def verify(self, *, claim: bool = True) -> list[str]:
        """Check that each server can keep the promise; return what could not be checked.

        With `claim`, an empty Redis is marked with the format of what will be written. Raises
        WrongRedis, whose detail names the setting to change, or QueueUnavailable.
        """
        topology, kind = self._open.topology, self._target.kind
        warnings = []
        with translated():
            try:
                if isinstance(topology, Sentinels):
                    await topology.check()
                nodes = await topology.masters()
            except WrongKind as error:
                raise WrongRedis(str(error)) from error
            for node in nodes:
                warnings += await check_server(node, kind, self.durability, self.namespace)
            await check_format(self.client, self.namespace, claim=claim)
        return list(dict.fromkeys(warnings))


class _Routed(Commands):
    """The library's commands over all servers."""

    def __init__(self, connections: RedisConnections) -> None:
        target = connections._target
        super().__init__(target.connection, target.settings, connections.command)
        self._connections = connections

    async def scan_iter(  # type: ignore[override]
        self, *args: Any, **options: Any
    ) -> AsyncIterator[bytes]:
        """Yield the keys of every server."""
        for node in await self._connections.masters():
            async for key in node.client.scan_iter(*args, **options):
                yield key


def _topology(target: Target, limits: Limits) -> Topology:
    if target.kind == "cluster":
        return Cluster(target, limits)
    return Sentinels(target, limits) if target.kind == "sentinel" else Alone(target, limits)
