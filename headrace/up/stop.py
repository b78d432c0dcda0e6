"""When to stop: the first wish, the second which is in a hurry, and the reason if there is one."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from contextlib import contextmanager, suppress

#: SIGHUP: the terminal was closed.
_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)


class Stop:
    """Asked once: drain and end. Asked twice: end now."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurried = asyncio.Event()
        self.reason: str | None = None

    def ask(self) -> None:
        """Ask, or ask again."""
        if self.asked.is_set():
            self.hurried.set()
        self.asked.set()

    def refuse(self, reason: str) -> None:
        """Stop since it cannot go on; the first reason is the one told."""
        if not self.asked.is_set():
            self.reason = reason
            self.asked.set()

    @contextmanager
    def on_signals(self) -> Iterator[None]:
        """Take the signals that mean stop."""
        loop = asyncio.get_running_loop()
        for number in _SIGNALS:
            loop.add_signal_handler(number, self.ask)
        try:
            yield
        finally:
            for number in _SIGNALS:
                with suppress(ValueError):
                    loop.remove_signal_handler(number)
