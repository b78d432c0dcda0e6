"""What the engine sends to the feeder, from whichever thread has it."""

import os
from collections.abc import Sequence
from threading import Lock
from time import monotonic
from typing import Protocol

from worker.channel import EngineChannel
from worker.engine.batch import Batch
from worker.wire import EXIT_STOPPED, Done, Item, ToFeeder


class Sender(Protocol):
    """Takes frames for the feeder."""

    def send(self, *frames: ToFeeder) -> None:
        """Write frames now, in one go."""


class Outbox:
    """One write at a time on the channel, and the count of jobs still owed for each batch."""

    def __init__(self, channel: EngineChannel) -> None:
        self._channel = channel
        self._lock = Lock()
        #: jobs that have got their outcome so far, and the moment of the last one
        self.delivered = 0
        self.delivered_at = 0.0

    def send(self, *frames: ToFeeder) -> None:
        """Write frames now, in one go."""
        with self._lock:
            self._write(frames)

    def deliver(self, batch: Batch, items: list[Item], size: int, run_s: float) -> None:
        """Send outcomes of a batch; the frame that leaves none owed says so."""
        with self._lock:
            batch.left -= len(items)
            # Before it is sent: the answer to it may be here at once.
            self.delivered += len(items)
            self.delivered_at = monotonic()
            self._write((Done(batch.number, items, size, run_s, batch.left <= 0),))

    def _write(self, frames: Sequence[ToFeeder]) -> None:
        try:
            self._channel.send(frames)
        except (BrokenPipeError, ConnectionError):
            # The feeder is gone, and with it everybody who could want an answer.
            os._exit(EXIT_STOPPED)
