"""The processes of one `headrace up`, and the order in which they start and stop."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from headrace.errors import StartRefused
from headrace.up.child import Child
from headrace.up.log_files import bound

#: Time a process gets beyond what its own drain may take, before it is killed.
_GRACE_S = 10.0
_LOOK_EVERY_S = 60.0


class Crew:
    """Redis if it is ours, then the API, what sends webhooks, and the workers."""

    def __init__(
        self,
        redis: Child | None,
        api: Child,
        webhooks: Child,
        workers: Sequence[Child],
        *,
        drain_s: float,
    ) -> None:
        self.redis = redis
        self.api = api
        self.webhooks = webhooks
        self.workers = list(workers)
        self._drain_s = drain_s
        self._kept: dict[str, asyncio.Task[None]] = {}

    @property
    def children(self) -> list[Child]:
        """All of them, in the order in which they start."""
        return [*([self.redis] if self.redis else []), self.api, self.webhooks, *self.workers]

    async def start_redis(self, group: asyncio.TaskGroup) -> None:
        """Start Redis if it is ours; StartRefused when it does not come up at all."""
        if self.redis is not None:
            self._keep(group, self.redis)
            await _came_up(self.redis)

    async def start_rest(self, group: asyncio.TaskGroup) -> None:
        """Start what needs Redis; StartRefused when the API does not come up at all."""
        for child in (self.api, self.webhooks, *self.workers):
            self._keep(group, child)
        await _came_up(self.api)

    async def stop(self, hurried: asyncio.Event) -> None:
        """Take no more requests, let the workers finish, and only then end Redis."""
        await self._end([self.api], self._drain_s, hurried)
        await self._end(self.workers, self._drain_s, hurried)
        # Last of those that need Redis: what the workers have just finished is told.
        await self._end([self.webhooks], self._drain_s, hurried)
        # Never killed in a hurry: it has nothing to wait for but its disk.
        await self._end([self.redis] if self.redis else [], 0.0, asyncio.Event())

    def kill(self) -> None:
        """End all at once."""
        for child in reversed(self.children):
            child.kill()

    async def keep_house(self) -> None:
        """Keep the log files from filling the disk, and what else needs a look now and then."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            for child in self.children:
                bound(child.command.log)
                child.prepare()

    def _keep(self, group: asyncio.TaskGroup, child: Child) -> None:
        self._kept[child.name] = group.create_task(child.keep(), name=child.name)

    async def _end(self, children: Sequence[Child], drain_s: float, hurried: asyncio.Event) -> None:
        kept = {self._kept[child.name] for child in children if child.name in self._kept}
        for child in children:
            child.quit()
        hurry = asyncio.create_task(hurried.wait())
        until = asyncio.get_running_loop().time() + drain_s + _GRACE_S
        while any(not task.done() for task in kept) and not hurry.done():
            left_s = until - asyncio.get_running_loop().time()
            waited = {task for task in kept if not task.done()} | {hurry}
            await asyncio.wait(
                waited, timeout=max(0.0, left_s), return_when=asyncio.FIRST_COMPLETED
            )
            if left_s <= 0:
                break
        hurry.cancel()
        for child in children:
            child.kill()
        if kept:
            await asyncio.wait(kept)


async def _came_up(child: Child) -> None:
    await child.decided.wait()
    if not child.came_up:
        raise StartRefused(f"{child.name} does not start: {child.ended}")
