"""One try at one delivery."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from egress.connect import Answer, CallFailed
from egress.resolver import on_behalf_of
from jobs.webhook import Delivery, Verdict
from webhooks.outcome import Seen, answered, unanswered, unsigned
from webhooks.signing import NoSecret
from webhooks.spans import TrySpans

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
    #: There while tracing is on.
    spans: TrySpans | None = None

    async def attempt(self, delivery: Delivery) -> Seen:
        """Try it once; raises QueueUnavailable where the tenant's secrets could not be read."""
        began = self.clock()
        at = int(began * 1000)
        try:
            headers = await self.headers(delivery, int(began))
        except NoSecret as error:
            return unsigned(str(error), at)
        on_behalf_of.set(delivery.tenant)
        span = None if self.spans is None else self.spans.begin(delivery)
        parent = delivery.traceparent if span is None else span.traceparent
        if parent is not None:
            headers["traceparent"] = parent
        seen = await self._send(delivery, headers, at)
        if span is not None:
            if seen.tried.status is not None:
                span.note({"http.response.status_code": seen.tried.status})
            delivered = seen.verdict is Verdict.DELIVERED
            span.end("" if delivered else str(seen.tried.status or seen.tried.outcome))
        return seen

    async def _send(self, delivery: Delivery, headers: Mapping[str, str], at: int) -> Seen:
        clock = asyncio.get_running_loop().time
        sent = clock()
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
