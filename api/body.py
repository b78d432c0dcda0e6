"""Reading a request's body up to a limit, whether or not its length was announced."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import ClientDisconnect
from starlette.types import Receive

from api import strict_json
from api.problems import PayloadTooLarge, invalid_input

Body = TypeVar("Body", bound=BaseModel)


async def read_body(receive: Receive, announced: bytes | None, limit: int) -> bytes:
    """Return the whole body; refuse it as soon as it is known to be over the limit."""
    if announced is not None and int(announced) > limit:
        raise _too_large(limit)
    chunks: list[bytes] = []
    size, more = 0, True
    while more:
        message = await receive()
        if message["type"] != "http.request":
            raise ClientDisconnect
        chunk = message.get("body", b"")
        chunks.append(chunk)
        size += len(chunk)
        if size > limit:
            raise _too_large(limit)
        more = message.get("more_body", False)
    return b"".join(chunks)


def parsed(kind: type[Body], body: bytes) -> Body:
    """Return a body of fixed fields; raises MalformedRequest, InvalidInput."""
    strict_json.check(body)
    try:
        return kind.model_validate_json(body)
    except ValidationError as error:
        raise invalid_input(
            [
                {
                    "type": one["type"],
                    "loc": ["body", *one["loc"]],
                    "msg": one["msg"],
                    "input": one["input"],
                }
                for one in error.errors(include_url=False, include_context=False)
            ]
        ) from error


def _too_large(limit: int) -> PayloadTooLarge:
    return PayloadTooLarge(f"The body is over the limit of {limit} bytes (MAX_BODY_BYTES).")
