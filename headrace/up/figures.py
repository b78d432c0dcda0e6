"""What the API says about the models, for the screen."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Collection
from dataclasses import dataclass, field
from typing import Any

import httpx

#: Often while models are still to come, so that they are told at once.
_EVERY_S, _EAGERLY_S = 1.0, 0.2
_LIMIT_S = 3.0


@dataclass(frozen=True, slots=True)
class ModelFigures:
    """One line of the screen: a model and its queue."""

    name: str
    state: str
    reason: str
    queued: int
    running: int
    workers: int
    example: Any = field(compare=False)


class Figures:
    """Asks the API once a second; an API that is away leaves the last answer."""

    def __init__(self, url: str, transport: httpx.AsyncBaseTransport | None = None) -> None:
        key = os.environ.get("HEADRACE_API_KEY")
        headers = {"authorization": f"Bearer {key}"} if key else {}
        self.models: tuple[ModelFigures, ...] = ()
        self.needs_key = False
        self.sends_key = key is not None
        self._http = httpx.AsyncClient(
            base_url=url, headers=headers, timeout=_LIMIT_S, transport=transport
        )

    async def follow(self, expected: Collection[str]) -> None:
        """Ask again and again."""
        async with self._http:
            while True:
                await self.ask()
                ready = {model.name for model in self.models if model.state == "ready"}
                await asyncio.sleep(_EVERY_S if ready.issuperset(expected) else _EAGERLY_S)

    async def ask(self) -> None:
        """Read how the models stand now."""
        try:
            response = await self._http.get("/v1/models")
        except httpx.TransportError:
            return
        self.needs_key = response.status_code in (401, 403)
        if response.status_code == 200:
            self.models = tuple(_figures(card) for card in response.json()["data"])


def _figures(card: dict[str, Any]) -> ModelFigures:
    queue = card.get("queue") or {}
    state = str(card.get("state", ""))
    return ModelFigures(
        name=str(card["name"]),
        state=state,
        # That a cold model has no worker, the state says; why it failed or is not ready does not.
        reason="" if state == "cold" else str(card.get("reason") or ""),
        queued=int(queue.get("queued") or 0),
        running=int(queue.get("running") or 0),
        workers=sum(worker.get("state") == "ready" for worker in card.get("workers") or ()),
        example=card.get("example"),
    )
