"""The Lua scripts: one for each transition, each with the shared prelude in front.

Some share more, in a file behind it: no other script pays for what that defines.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib import resources

#: Writes nothing new while memory is full; all others must work then, or nothing could ever end.
_NEEDS_MEMORY = {"submit"}
#: Also what a receiver is told of, and the id that it is told under.
_TOLD = {
    *("submit", "read", "settle", "cancel", "delete"),
    *("untold", "post", "lease", "calls", "replay"),
}
#: File that some scripts share -> those scripts.
_SHARED = {
    "burial": {"adopt", "register", "leave", "hand_back"},
    "deliveries": {"post", "lease", "told", "release", "replay", "uncall", "endpoints"},
}
#: Run once more, each gives the same: those that name what they change by id or token.
_REPEATABLE = {
    *("submit", "read", "cancel", "overview", "look", "dead", "attempts"),
    *("register", "beat", "start", "settle", "hand_back", "progress", "leave"),
    *("untold", "post", "told", "release", "replay", "calls", "uncall", "endpoints", "waiting"),
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
    shared = [file for file, names in _SHARED.items() if name in names]
    files = ["prelude", *shared, name]
    body = (flags + "".join((folder / f"{file}.lua").read_text() for file in files)).encode()
    digest = hashlib.sha1(body, usedforsecurity=False).hexdigest()
    return Script(name, body, digest, name in _TOLD, name in _REPEATABLE)


SUBMIT = _load("submit")
READ = _load("read")
CANCEL = _load("cancel")
DELETE = _load("delete")
SWEEP = _load("sweep")
OVERVIEW = _load("overview")
FOLLOW = _load("follow")
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
UNTOLD = _load("untold")
POST = _load("post")
LEASE = _load("lease")
TOLD = _load("told")
RELEASE = _load("release")
REPLAY = _load("replay")
CALLS = _load("calls")
UNCALL = _load("uncall")
ENDPOINTS = _load("endpoints")
WAITING = _load("waiting")
