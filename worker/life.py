"""One worker from its first beat to its orderly end."""

import asyncio
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from jobs.cards import CardStore
from telemetry import logs
from worker.answers import Answers
from worker.beats import Beats, Verify
from worker.cancels import Cancels
from worker.card_publisher import CardPublisher
from worker.drain import Drain
from worker.feeder import Feeder
from worker.learned import LearnedFile
from worker.probing import Prober
from worker.progress import ProgressReporter
from worker.returning import Returner
from worker.settling import Settler
from worker.starting import Starter
from worker.station import Station
from worker.sweeping import sweep_for_ever
from worker.watchdog import Watchdog

log = logs.get("worker.life")


class Worker:
    """All parts of a worker, wired together."""

    def __init__(
        self, station: Station, cards: CardStore, learned: LearnedFile, verify: Verify
    ) -> None:
        self._station = station
        self._learned = learned
        self._stop_asked = asyncio.Event()
        settler, returner = Settler(station), Returner(station)
        cancels = Cancels(station, settler)
        starter = Starter(station, returner, cancels)
        progress = ProgressReporter(station)
        pinned_only = station.rules.pinned_only
        publisher = CardPublisher(cards, station.model, station.version, pinned_only=pinned_only)
        self._answers = Answers(station, starter, settler, returner, progress, publisher)
        feeder = Feeder(station, cancels, returner)
        self._drain = Drain(station, settler, returner)
        self._parts: Sequence[Callable[[], Coroutine[Any, Any, None]]] = (
            Beats(station, cancels, verify).run,
            feeder.run,
            feeder.listen,
            starter.run,
            settler.delivery.run,
            returner.delivery.run,
            progress.run,
            publisher.run,
            Watchdog(station).run,
            Prober(station).run,
            learned.run,
            lambda: sweep_for_ever(station),
        )

    def stop(self) -> None:
        """Ask the worker to drain and end; a second time, to be quick about it."""
        self._drain.hurried = self._stop_asked.is_set()
        self._stop_asked.set()

    async def run(self) -> bool:
        """Live until stopped; False if something it held could not be given back or stored."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._station.engine.run(self._answers))
            parts = [group.create_task(part()) for part in self._parts]
            await self._stop_asked.wait()
            clean = await self._drain.run()
            for part in parts:
                part.cancel()
        self._learned.write()
        return clean
