"""One thread that hears the feeder, the other threads and the clock, one at a time."""

import os
import selectors
import socket
from collections import deque
from collections.abc import Callable
from time import monotonic
from typing import Protocol

from worker.channel import EngineChannel
from worker.wire import EXIT_STOPPED, ToEngine

NEVER = float("inf")


class Listener(Protocol):
    """Whoever acts on what the mailbox hears; all on the mailbox's thread."""

    def hear(self, frame: ToEngine) -> None:
        """A frame of the feeder."""

    def step(self, now: float) -> float:
        """All that was there is heard; answers when to be called again at the latest."""
        ...


class Mailbox:
    """Frames of the channel and calls posted by other threads, in one queue of turns."""

    #: who hears; another may take over on the mailbox's thread
    listener: Listener

    def __init__(self, channel: EngineChannel) -> None:
        self._channel = channel
        self._posted: deque[Callable[[], None]] = deque()
        self._bell, self._ear = socket.socketpair()
        self._bell.setblocking(False)
        self._rung = False
        self._selector = selectors.DefaultSelector()
        self._selector.register(channel, selectors.EVENT_READ)
        self._selector.register(self._ear, selectors.EVENT_READ)
        self._open = True

    def post(self, call: Callable[[], None]) -> None:
        """Have this called on the mailbox's thread; from any thread."""
        self._posted.append(call)
        if not self._rung:
            self._rung = True
            self._bell.send(b"\0")

    def close(self) -> None:
        """End `listen` after this turn; on the mailbox's thread."""
        self._open = False

    def listen(self, listener: Listener) -> None:
        """Hear until closed; the process ends when the feeder hangs up."""
        self.listener = listener
        until = NEVER
        while self._open:
            timeout = None if until == NEVER else max(0.0, until - monotonic())
            for key, _ in self._selector.select(timeout):
                if key.fileobj is self._ear:
                    self._answer_bell()
                else:
                    self._read()
            while self._posted:
                self._posted.popleft()()
            if self._open:
                until = self.listener.step(monotonic())

    def _answer_bell(self) -> None:
        self._ear.recv(4096)
        # Cleared before the calls are made: one posted meanwhile rings again.
        self._rung = False

    def _read(self) -> None:
        frames = self._channel.receive()
        if frames is None:
            # Nobody is left who could want a result, and the GPU must be free for the next engine.
            os._exit(EXIT_STOPPED)
        for frame in frames:
            self.listener.hear(frame)
