"""Why a call had no answer: aiohttp's errors become one of ours here, and nowhere else."""

from __future__ import annotations

import os
import ssl
from typing import Literal

import aiohttp
from aiohttp.http_exceptions import HttpProcessingError

from egress.targets import ForbiddenTarget, Unresolvable

Kind = Literal["forbidden", "dns", "connect", "tls", "timeout", "reset", "protocol"]

#: All that a call can raise and a caller must not see. A TimeoutError is an OSError.
FOREIGN = (aiohttp.ClientError, HttpProcessingError, OSError)

_BROKEN = "the connection was closed before there was an answer"


class CallFailed(Exception):
    """There was no answer; `detail` names no address that the caller did not write."""

    def __init__(self, kind: Kind, detail: str) -> None:
        super().__init__(f"{kind}: {detail}")
        self.kind: Kind = kind
        self.detail = detail


def call_failed(error: Exception) -> CallFailed:
    """Return what an error means to the one who wanted the call."""
    return CallFailed(*_meaning(error))


def _meaning(error: Exception) -> tuple[Kind, str]:
    meaning: tuple[Kind, str] = "protocol", "the answer is not HTTP/1.1, or its head is too large"
    match error:
        case ForbiddenTarget():
            meaning = "forbidden", error.reason
        case Unresolvable():
            meaning = "dns", str(error)
        case aiohttp.ClientConnectorError():
            meaning = _connecting(error)
        case aiohttp.ConnectionTimeoutError():
            meaning = "timeout", "there was no connection in time"
        case TimeoutError():
            meaning = "timeout", "there was no answer in time"
        case OSError() if isinstance(error.__cause__, ssl.SSLError):
            # A server that wants a certificate of ours says so after the handshake.
            meaning = "tls", _handshake(error.__cause__)
        case aiohttp.ClientConnectionError() | OSError():
            meaning = "reset", _BROKEN
    return meaning


def _connecting(error: aiohttp.ClientConnectorError) -> tuple[Kind, str]:
    if isinstance(error, aiohttp.ClientConnectorCertificateError):
        return "tls", _certificate(error.certificate_error)
    cause = error.os_error
    if isinstance(cause, ssl.SSLError):
        return "tls", _handshake(cause)
    if isinstance(cause, ConnectionResetError | ConnectionAbortedError | BrokenPipeError):
        return "reset", _BROKEN
    # Not the error's own text: it has the address in it.
    return "connect", os.strerror(cause.errno) if cause.errno else "there was no connection"


def _certificate(error: Exception) -> str:
    reason = getattr(error, "verify_message", "") or "it is not valid"
    return f"the certificate was refused: {reason}"


def _handshake(error: OSError) -> str:
    reason = getattr(error, "reason", None) or "it broke off"
    return f"the handshake failed: {reason}"
