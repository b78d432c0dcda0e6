"""What a receiver answered, as far as anybody needs it: its answers are hostile."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import aiohttp

from egress.failures import FOREIGN

MOST_READ = 20 * 1024
MOST_KEPT = 2 * 1024

#: Of an answer's head, all that anybody looks at, and how much of each.
_HEADERS = ("content-type", "location", "retry-after")
_LONGEST_HEADER = 1024


@dataclass(frozen=True)
class Answer:
    """What came back; a body that broke off or was too slow does not change what it means."""

    status: int
    #: Lower-case names; only content-type, location and retry-after.
    headers: dict[str, str]
    #: The first 2 KiB, never inflated.
    body: bytes
    #: Bytes of the body that were read, 20 KiB at most.
    read: int
    seconds: float


async def read_start(response: aiohttp.ClientResponse, deadline: float) -> tuple[bytes, int]:
    """Return the first 2 KiB and how much was read, by the deadline and 20 KiB at most."""
    kept, read = bytearray(), 0
    try:
        async with asyncio.timeout_at(deadline):
            while read < MOST_READ and (chunk := await response.content.read(MOST_READ - read)):
                read += len(chunk)
                kept += chunk[: MOST_KEPT - len(kept)]
    except FOREIGN:
        # The status has arrived, and with it the outcome: a retry would be a second delivery.
        pass
    return bytes(kept), read


def kept_headers(response: aiohttp.ClientResponse) -> dict[str, str]:
    """Return the headers that are used, as text that any encoder takes."""
    present = {name: response.headers[name] for name in _HEADERS if name in response.headers}
    return {name: _text(value)[:_LONGEST_HEADER] for name, value in present.items()}


def _text(value: str) -> str:
    # aiohttp keeps bytes that are no UTF-8 as lone surrogates, which neither JSON nor Redis takes.
    return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
