"""What a submit's webhook has to pass before its job is stored: a signature, and a URL to call."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from types import TracebackType
from typing import Any, Self

import msgspec

from api.problems import invalid_input
from egress.resolver import Resolver, on_behalf_of
from egress.targets import EgressPolicy, ForbiddenTarget, Target, Unresolvable
from jobs.cards import CardEntry
from jobs.errors import InvalidInput, WebhookUrlForbidden
from jobs.job import NewJob
from jobs.queue import JobQueue
from jobs.webhook import Webhook
from jobs.webhook_secrets import WebhookSecrets

#: How long it is taken as known that a tenant has a secret.
_SIGNED_S = 2.0
#: How long a verdict about a name holds, and of how many names it is kept.
_VERDICT_S = 30.0
_MOST_NAMES = 1024
#: The longest that a submit waits for a name server; each try of a delivery looks again.
_LOOK_UP_S = 2.0

_AT_URL = ["body", "webhook", "url"]
_NO_SECRET: dict[str, Any] = {
    "type": "missing",
    "loc": ["body", "webhook", "secret"],
    "msg": "There is nothing to sign with: send a `secret` with the webhook, or have one made for "
    "the tenant (`headrace webhooks secret create`)",
    "input": None,
}

_decoder = msgspec.json.Decoder(Webhook)


class WebhookCheck:
    """Judges webhooks by the tenants' secrets and by where calls may go."""

    def __init__(
        self, queue: JobQueue, secrets: WebhookSecrets, names: NameCheck, *, signed: bool
    ) -> None:
        """`signed` says that there is a secret for those who have none of their own."""
        self._queue = queue
        self._secrets = secrets
        self._names = names
        self._signed = signed
        self._signed_until: dict[str, float] = {}

    async def admit(self, new: NewJob, entry: CardEntry, key: str | None) -> None:
        """Let a job's webhook pass, or raise InvalidInput or WebhookUrlForbidden.

        A repeat of a request that was taken before makes no new job, so it passes.
        """
        if new.webhook is None:
            return
        try:
            await self._require(_decoder.decode(new.webhook), new.tenant)
        except (InvalidInput, WebhookUrlForbidden):
            if key is None:
                raise
            shards = await self._queue.home(entry, new.tenant, key)
            if not await self._queue.has_key(new.tenant, new.model, key, shards):
                raise

    async def _require(self, webhook: Webhook, tenant: str) -> None:
        if webhook.secret is None and not await self._is_signed(tenant):
            raise invalid_input([_NO_SECRET])
        on_behalf_of.set(tenant)
        reason = await self._names.why_not(webhook.url)
        if reason is not None:
            raise WebhookUrlForbidden(
                f"The webhook's URL may not be called: {reason}.",
                # Not what was given: a URL often has a token in it.
                errors=[{"type": "url_forbidden", "loc": _AT_URL, "msg": reason}],
            )

    async def _is_signed(self, tenant: str) -> bool:
        if self._signed or self._signed_until.get(tenant, 0.0) > time.monotonic():
            return True
        # That there is none is never kept: who is told to make one tries again at once.
        if not await self._secrets.signing(tenant):
            return False
        self._signed_until[tenant] = time.monotonic() + _SIGNED_S
        return True

    def forget(self, tenant: str) -> None:
        """Look anew whether a tenant has a secret."""
        self._signed_until.pop(tenant, None)


class NameCheck:
    """Says whether a URL may be called; what names lead to is remembered for a while."""

    def __init__(self, policy: EgressPolicy, resolver: Resolver) -> None:
        self._policy = policy
        self._resolver = resolver
        #: Host -> when it is looked up again, and the look-up, of which there is one at a time.
        self._known: OrderedDict[str, tuple[float, asyncio.Task[str | None]]] = OrderedDict()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        tasks = [task for _, task in self._known.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def why_not(self, url: str) -> str | None:
        """Return why a URL may not be called; None if it may, or if that is not known yet."""
        try:
            target = self._policy.check_url(url)
        except ForbiddenTarget as error:
            return error.reason
        if target.address is not None:
            return None
        # Shielded: a caller that goes away must not end the look-up of all others.
        return await asyncio.shield(self._verdict(target))

    def _verdict(self, target: Target) -> asyncio.Task[str | None]:
        now = time.monotonic()
        until, task = self._known.get(target.host, (0.0, None))
        if task is None or until < now:
            task = asyncio.create_task(self._look_up(target), name="webhook-name")
            self._known[target.host] = (now + _VERDICT_S, task)
            self._known.move_to_end(target.host)
        while len(self._known) > _MOST_NAMES:
            # A look-up that somebody waits for is held by them, and ends within seconds.
            self._known.popitem(last=False)
        return task

    async def _look_up(self, target: Target) -> str | None:
        try:
            async with asyncio.timeout(_LOOK_UP_S):
                await self._policy.resolve(target, self._resolver)
        except ForbiddenTarget as error:
            return error.reason
        except (Unresolvable, TimeoutError):
            # DNS may be away for a moment: that is no reason to refuse a job.
            return None
        return None
