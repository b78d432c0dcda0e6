"""What can be wrong with receivers."""

from __future__ import annotations

import threading

import httpx

from headrace.chaos.receiver import Receiver
from headrace.chaos.stack import until

from .lookout import Lookout
from .sites import Site, Stream

MODEL = "hooks"
#: What a slow receiver takes for an answer, in seconds: less than a try may take.
_SLOW_S = 3.0
_URLS = 10


class Troubled(Receiver):
    """A receiver that fails or is slow while it is told to."""

    failing = False
    slow = False
    well = threading.Event()

    def take(self, headers: dict[str, str], body: bytes) -> str:
        """Take an event, or do not."""
        if self.failing:
            return "error"
        if self.slow:
            self.well.wait(_SLOW_S)
        return super().take(headers, body)


def hooks(lookout: Lookout) -> None:
    """A sender and its receiver."""
    site = Site("hooks", lookout)
    with site, Troubled(site.stack.folder / "told.jsonl") as receiver, site.reads(site.api()):
        site.worker(MODEL)
        site.sends("sender", "retries")
        with told(site, receiver, 5):
            until(lambda: len(receiver.told) > 20, 60, "ends are told")
            it_fails(site, receiver)
            it_is_slow(site, receiver)


def told(site: Site, receiver: Troubled, per_s: float) -> Stream:
    """Submit jobs that are told of at several URLs: one that fails is soon left alone."""

    def submit(number: int) -> httpx.Response:
        hook = {**receiver.webhook(), "url": f"{receiver.url}/{number % _URLS}"}
        return site.apis[0].post(MODEL, {}, webhook=hook)

    return site.stream(submit, per_s)


def it_fails(site: Site, receiver: Troubled) -> None:
    """Each try is answered with 503."""
    with site.tells("HeadraceWebhooksFailing") as fires:
        receiver.failing = True
        try:
            fires()
        finally:
            receiver.failing = False


def it_is_slow(site: Site, receiver: Troubled) -> None:
    """More ends in a second than it takes in a minute."""
    with site.tells("HeadraceWebhooksWaiting") as fires:
        receiver.slow = True
        try:
            site.post(MODEL, 5500, {}, webhook=receiver.webhook())
            with site.jobs(MODEL, {}, 20, webhook=receiver.webhook()):
                fires()
        finally:
            receiver.well.set()
