"""What a beat hears from some shards counts although others are away."""

from __future__ import annotations

import asyncio

from jobs.errors import QueueUnavailable
from jobs.worker_queue import BeatAnswer
from worker.beats import Beats
from worker.cancels import Cancels
from worker.settling import Settler

from .waiting import until


async def verified() -> list[str]:
    return []


async def test_what_some_shards_said_is_acted_on_and_the_beat_is_tried_again_soon(station, clock):
    station.registered = True
    station.queue.answer = BeatAnswer(
        owned_not_held=[("a", "t")], failure=QueueUnavailable("one master is away")
    )
    beats = Beats(station, Cancels(station, Settler(station)), verified)
    before = beats._beat_at
    task = asyncio.create_task(beats.run())
    async with asyncio.timeout(5):
        # Beats are 2 s apart, those after a failure at first 0.1 s.
        await until(lambda: len(station.queue.asked("beat")) >= 5)
    task.cancel()
    await asyncio.wait({task})
    assert station.queue.asked("hand_back")[0] == [("a", False)]
    # Not every shard found this life alive: who buries it on the others may be in the right.
    assert beats._beat_at == before
    assert station.registered
