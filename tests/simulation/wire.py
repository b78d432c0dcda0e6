"""The shortest way to a real Redis: the real scripts, on a clock that the test sets."""

from __future__ import annotations

import hashlib
import socket
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import hiredis

from jobs import scripts

from .lifetimes import CONTROLLED, SET_CLOCK

#: The one line of the prelude that reads the time.
TIME = "local clock = redis.call('TIME')\n"

#: Takes the text of a script by its name; a seeded bug changes it.
Edit = Callable[[str, str], str]


def every_script() -> list[scripts.Script]:
    """Return all scripts that the queue has."""
    return [each for each in vars(scripts).values() if isinstance(each, scripts.Script)]


def on_controlled_clock(body: str) -> str:
    """Let a script read the time from a key; breaks when it reads the time in any other way."""
    assert body.count(TIME) == 1, "the prelude no longer reads the time as the simulation knows it"
    assert body.count("TIME'") == 1, "a script reads the time beside the prelude"
    return body.replace(TIME, CONTROLLED)


class Wire:
    """One blocking connection; as little Python as possible for each call."""

    def __init__(self, path: Path, edit: Edit | None = None) -> None:
        self._socket = socket.socket(socket.AF_UNIX)
        self._socket.settimeout(20)
        self._socket.connect(str(path))
        self._reader = hiredis.Reader()
        self._clock = self.call("SCRIPT", "LOAD", SET_CLOCK)
        self.shas = self._load(edit or (lambda _, body: body))

    def _load(self, edit: Edit) -> Mapping[str, str]:
        shas = {}
        for script in every_script():
            body = edit(script.name, on_controlled_clock(script.body.decode()))
            shas[script.name] = hashlib.sha1(body.encode(), usedforsecurity=False).hexdigest()
            self.call("SCRIPT", "LOAD", body)
        return shas

    def call(self, *command: Any) -> Any:
        """Send one command and return its answer."""
        return self.calls([command])[0]

    def calls(self, commands: Iterable[tuple[Any, ...]]) -> list[Any]:
        """Send commands in one piece and return their answers."""
        packed = [hiredis.pack_command(command) for command in commands]
        self._socket.sendall(b"".join(packed))
        answers = [self._next() for _ in packed]
        for answer in answers:
            if isinstance(answer, hiredis.ReplyError):
                raise answer
        return answers

    def gather(self) -> list[Any]:
        """Of a subscribed connection, return all that was published until now."""
        self._socket.sendall(hiredis.pack_command(("PING",)))
        heard = []
        while (message := self._next())[0] != b"pong":
            heard.append(message)
        return heard

    def _next(self) -> Any:
        while (answer := self._reader.gets()) is False:
            self._reader.feed(self._socket.recv(1 << 16))
        return answer

    def set_clock(self, now: int) -> set[str]:
        """Let the scripts read this time, in milliseconds; return the keys whose life is over."""
        return {each.decode() for each in self.call("EVALSHA", self._clock, 0, now)}

    def close(self) -> None:
        """Hang up."""
        self._socket.close()
