"""The Lua scripts: one for each transition, each with the shared prelude in front."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources

#: Writes nothing new while memory is full; all others must work then, or nothing could ever end.
_NEEDS_MEMORY = {"submit"}
_TOLD = {"submit", "read", "settle", "cancel", "delete"}
#: Run once more, each gives the same: those that name what they change by id or token.
_REPEATABLE = {
    *("submit", "read", "cancel", "overview", "look", "dead", "attempts"),
    *("register", "beat", "start", "settle", "hand_back", "progress", "leave"),
}


@dataclass(frozen=True, slots=True)
class Script:
    """A script and the hash under which Redis keeps it."""

    name: str
    body: bytes
    sha: str
    #: A client is told of what it did or found, so `replicated` waits for a replica to have it.
    told: bool
    #: It may be run again when its answer was lost.
    repeatable: bool = False


def _load(name: str) -> Script:
    folder = resources.files("jobs") / "scripts"
    flags = "#!lua\n" if name in _NEEDS_MEMORY else "#!lua flags=allow-oom\n"
    parts = [flags, (folder / "prelude.lua").read_text(), (folder / f"{name}.lua").read_text()]
    body = "".join(parts).encode()
    digest = hashlib.sha1(body, usedforsecurity=False).hexdigest()
    return Script(name, body, digest, name in _TOLD, name in _REPEATABLE)


SUBMIT = _load("submit")
READ = _load("read")
CANCEL = _load("cancel")
DELETE = _load("delete")
SWEEP = _load("sweep")
OVERVIEW = _load("overview")
DEAD = _load("dead")
ATTEMPTS = _load("attempts")
RETRIED = _load("retried")
REGISTER = _load("register")
CLAIM = _load("claim")
START = _load("start")
SETTLE = _load("settle")
HAND_BACK = _load("hand_back")
PROGRESS = _load("progress")
BEAT = _load("beat")
ADOPT = _load("adopt")
LEAVE = _load("leave")
LOOK = _load("look")
