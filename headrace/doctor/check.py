"""What a check finds."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from headrace.settings import UpSettings
from jobs.connection import RedisConnections
from jobs.policy import QueueOptions


class Level(StrEnum):
    """How bad it is: an error breaks the promise or stops jobs, a warning may come to that."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Check:
    """One thing that was looked at: how it is, in a sentence, and what to do about it."""

    name: str
    level: Level
    says: str
    advice: str = ""


class DoctorSettings(UpSettings):
    """Where the Redis is, and what its processes were told."""

    beat_limit_s: float = 10


@dataclass(frozen=True, slots=True)
class Patient:
    """A Headrace that is looked at."""

    connections: RedisConnections
    options: QueueOptions
    durability: str


def ok(name: str, says: str) -> Check:
    """Return what is as it should be."""
    return Check(name, Level.OK, says)


def warning(name: str, says: str, advice: str = "") -> Check:
    """Return what may become bad."""
    return Check(name, Level.WARNING, says, advice)


def error(name: str, says: str, advice: str = "") -> Check:
    """Return what is bad."""
    return Check(name, Level.ERROR, says, advice)
