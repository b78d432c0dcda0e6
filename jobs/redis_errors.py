"""The errors of Redis and of its client library: what they mean to us, and what they became of."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterator
from enum import Enum

from redis import exceptions

from jobs.errors import QueueFull, QueueUnavailable

#: What a server answers that is there and cannot do its work, now or with these rights.
_UNABLE = (
    "BUSY ",
    "CLUSTERDOWN",
    "LOADING",
    "MASTERDOWN",
    "MISCONF",
    "NOAUTH",
    "NOPERM",
    "NOREPLICAS",
    "READONLY",
    "TRYAGAIN",
    "UNBLOCKED",
    "UNKILLABLE",
)


class NotSent(exceptions.ConnectionError):
    """No connection: the command never left this process."""

    def __init__(self, reason: object, *, slow: bool = False) -> None:
        super().__init__(str(reason) or "no answer in time")
        #: Nobody refused the connection; nobody answered either.
        self.slow = slow


class WrongKind(NotSent):
    """The URL leads to a server of another kind than it says; the text says what to write."""


class Fate(Enum):
    """What became of a command that ended in an error."""

    #: It was not run: by a server that is not, or no longer, or not yet the one to ask.
    NOT_RUN = "not run"
    #: Its answer was lost, or never came.
    UNKNOWN = "unknown"
    #: The server has answered; asking again gives the same.
    ANSWERED = "answered"


_WRONG_SERVER = (
    exceptions.AskError,
    exceptions.BusyLoadingError,
    exceptions.ClusterDownError,
    # Scripts were flushed again between the loading of one and its call.
    exceptions.NoScriptError,
    exceptions.ReadOnlyError,
    exceptions.TryAgainError,
    NotSent,
)


def fate_of(error: Exception) -> Fate:
    """Say what became of the command that this error answered."""
    if isinstance(error, _WRONG_SERVER):
        return Fate.NOT_RUN
    if isinstance(error, exceptions.AuthenticationError):
        return Fate.ANSWERED
    if isinstance(error, exceptions.ConnectionError | exceptions.TimeoutError | OSError):
        return Fate.UNKNOWN
    return Fate.ANSWERED


def timed_out(error: Exception) -> bool:
    """Say whether nobody answered in time, which is no reason to ask the same server again."""
    if isinstance(error, NotSent):
        return error.slow
    return isinstance(error, exceptions.TimeoutError | TimeoutError)


@contextlib.contextmanager
def translated() -> Iterator[None]:
    """Turn every error of the client library into one of ours, and keep the cause."""
    task = asyncio.current_task()
    canceled_before = 0 if task is None else task.cancelling()
    try:
        yield
    except exceptions.OutOfMemoryError as error:
        raise QueueFull("Redis has no memory left for another job.", retry_after_s=5) from error
    except exceptions.AskError as error:
        raise QueueUnavailable(
            f"Another node of the Redis Cluster has this, or will have: {error}", retry_after_s=2
        ) from error
    except (
        exceptions.ConnectionError,
        exceptions.TimeoutError,
        exceptions.NoScriptError,
        exceptions.ReadOnlyError,
        exceptions.ClusterDownError,
        exceptions.TryAgainError,
        OSError,
    ) as error:
        raise QueueUnavailable(f"Redis cannot be reached: {error}", retry_after_s=2) from error
    except exceptions.ResponseError as error:
        if isinstance(error, exceptions.NoPermissionError) or str(error).startswith(_UNABLE):
            raise QueueUnavailable(f"Redis cannot serve this: {error}", retry_after_s=5) from error
        raise
    # Python 3.11's wait_for, around each of the library's writes, loses a cancellation that comes
    # together with its result; a loop that is told to end would then go on for ever.
    if task is not None and task.cancelling() > canceled_before:
        raise asyncio.CancelledError
