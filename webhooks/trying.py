"""One try at one delivery."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from egress.connect import Answer, CallFailed
from egress.resolver import on_behalf_of
from jobs.webhook import Delivery
from webhooks.outcome import Seen, answered, unanswered, unsigned
from webhooks.signing import NoSecret

#: Of a try's time, what a connection may take to come about.
CONNECT_S = 5.0


class Post(Protocol):
    """Whoever sends: EgressClient.post."""

    def __call__(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        timeout_s: float = ...,
        connect_s: float = ...,
    ) -> Awaitable[Answer]:
        """Return the answer, or raise CallFailed."""
        ...


@dataclass(frozen=True, slots=True)
class Trier:
    """Signs a delivery afresh, sends it, and judges what comes back."""

    post: Post
    headers: Callable[[Delivery, int], Awaitable[dict[str, str]]]
    timeout_s: float = 15.0
    #: Unix time.
    clock: Callable[[], float] = time.time

    async def attempt(self, delivery: Delivery) -> Seen:
        """Try it once; raises QueueUnavailable where the tenant's secrets could not be read."""
        began = self.clock()
        at = int(began * 1000)
        try:
            headers = await self.headers(delivery, int(began))
        except NoSecret as error:
            return unsigned(str(error), at)
        clock = asyncio.get_running_loop().time
        sent = clock()
        on_behalf_of.set(delivery.tenant)
        try:
            answer = await self.post(
                delivery.url,
                delivery.body,
                headers,
                timeout_s=self.timeout_s,
                connect_s=min(CONNECT_S, self.timeout_s),
            )
        except CallFailed as error:
            return unanswered(error, at, clock() - sent)
        return answered(answer, at)
