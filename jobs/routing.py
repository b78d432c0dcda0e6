"""A call finds its server, and what may be repeated is repeated while servers change places."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Awaitable, Callable
from typing import Any

from redis import exceptions

from jobs.node import Node
from jobs.redis_errors import Fate, NotSent, fate_of, timed_out
from jobs.topology import Topology

#: Between two tries at a server that cannot serve yet, in seconds.
_PAUSE_S = 0.05
#: Tries of one call at the most: servers that send us to each other must not keep us for ever.
_TRIES = 24

Ask = Callable[[Node], Awaitable[Any]]


class Router:
    """Sends calls to whoever serves their slot."""

    def __init__(self, topology: Topology) -> None:
        self.topology = topology

    async def ask(self, slot: int, ask: Ask, *, repeat: bool) -> Any:
        """Ask the server of a slot.

        A call that was not run is tried again for a moment; one that may have been run only with
        `repeat`, for its answer may have been lost after all was done.
        """
        node = self.topology.at(slot)
        try:
            if node is None:
                raise NotSent(f"no server of slot {slot} is known yet")
            return await ask(node)
        except (exceptions.RedisError, OSError) as error:
            failure: Exception = error
        return await self.again(slot, ask, node, failure, repeat)

    async def again(
        self, slot: int, ask: Ask, node: Node | None, failure: Exception, repeat: bool
    ) -> Any:
        """Go on after a first try that failed, if that is safe; else raise its failure."""
        until = time.monotonic() + self.topology.patience_s
        at_once = True
        for _ in range(_TRIES):
            fate = fate_of(failure)
            if fate is Fate.ANSWERED:
                raise failure
            before, node = node, await self._look(slot, node, failure)
            if fate is Fate.UNKNOWN and not repeat:
                raise failure
            if node is before:
                # One that hung up or is no master any more may be reached anew, and be another by
                # now; one that refuses connections or says nothing is not asked twice in a row.
                fresh = at_once and not isinstance(failure, NotSent)
                if timed_out(failure) or (not fresh and time.monotonic() >= until):
                    break
                if not fresh:
                    await asyncio.sleep(_PAUSE_S)
                at_once = False
            if node is None:
                continue
            try:
                return await ask(node)
            except (exceptions.RedisError, OSError) as error:
                failure = error
        # Alone, a server that refuses connections does so at once, each time.
        if node is not None and self.topology.patience_s and isinstance(failure, NotSent):
            node.trip()
        raise failure

    async def _look(self, slot: int, node: Node | None, failure: Exception) -> Node | None:
        if node is not None and isinstance(failure, exceptions.ReadOnlyError):
            # A demoted master answers on; no connection to it is used again.
            await node.calls.close()
        with contextlib.suppress(exceptions.RedisError, OSError):
            await self.topology.refresh(node)
        if isinstance(failure, exceptions.MovedError):
            self.topology.redirect(slot, failure)
        return self.topology.at(slot)
