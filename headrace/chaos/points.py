"""Where in the talk with Redis a connection is cut or held up: chosen by name, or by a seed."""

from __future__ import annotations

import random
import threading
from dataclasses import dataclass

#: Where a cut may fall. A half is written, then both sides of the connection are reset.
WHERE = ("before_request", "in_request", "before_reply", "in_reply")


@dataclass(frozen=True, slots=True)
class Point:
    """The nth message of a name, from now on, is cut; with `delay_s` it is held up instead."""

    #: A script (`claim`), a command (`XREAD`, `SCRIPT LOAD`), or `message`: what Redis pushes.
    name: str
    where: str
    nth: int = 1
    delay_s: float | None = None
    #: Only messages of at least so many bytes: a claim that found something, say.
    least: int = 0
    #: All other connections of the role go with it.
    all_of_role: bool = False


@dataclass(frozen=True, slots=True)
class Fault:
    """Something that the proxy has done."""

    at: float
    role: str
    client: int
    name: str
    where: str
    delay_s: float | None


class Armed:
    """A point that waits for its moment."""

    def __init__(self, point: Point) -> None:
        self.point = point
        self.left = point.nth
        self.fired = threading.Event()

    def wait(self, seconds: float) -> bool:
        """Wait until it has happened; False when it did not."""
        return self.fired.wait(seconds)


class Storm:
    """A share of all messages is cut or held up, as a seed has it."""

    def __init__(self, seed: int, *, share: float, delays: float = 0.0, longest_s: float = 0.3):
        self._random = random.Random(seed)
        self._share, self._delays, self._longest_s = share, delays, longest_s

    def point(self, name: str, request: bool) -> Point | None:
        """Return what happens to this message."""
        if self._random.random() >= self._share:
            return None
        where = self._random.choice(WHERE[:2] if request else WHERE[2:])
        if self._random.random() < self._delays:
            return Point(name, where, delay_s=self._random.uniform(0, self._longest_s))
        return Point(name, where)
