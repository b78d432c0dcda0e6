"""Reading a request's body up to a limit, whether or not its length was announced."""

from __future__ import annotations

from starlette.requests import ClientDisconnect
from starlette.types import Receive

from api.problems import PayloadTooLarge


async def read_body(receive: Receive, announced: bytes | None, limit: int) -> bytes:
    """Return the whole body; refuse it as soon as it is known to be over the limit."""
    if announced is not None and int(announced) > limit:
        raise _too_large(limit)
    message = await receive()
    body: bytes = message.get("body", b"")
    if message.get("more_body", False) or message["type"] != "http.request":
        body = await _rest(receive, message["type"], body, limit)
    if len(body) > limit:
        raise _too_large(limit)
    return body


async def _rest(receive: Receive, kind: str, first: bytes, limit: int) -> bytes:
    chunks, size, more = [first], len(first), True
    while more:
        if kind != "http.request":
            raise ClientDisconnect
        if size > limit:
            raise _too_large(limit)
        message = await receive()
        kind, more = message["type"], message.get("more_body", False)
        chunks.append(message.get("body", b""))
        size += len(chunks[-1])
    return b"".join(chunks)


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body is over the limit of {limit} bytes (MAX_BODY_BYTES).")
