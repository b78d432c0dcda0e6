"""Responses of bytes that are ready to send."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.responses import Response

Header = tuple[bytes, bytes]

_JSON: Header = (b"content-type", b"application/json")


class JsonBytes(Response):
    """A response whose body is JSON already; nothing is rendered, decoded or looked up again."""

    def __init__(self, body: bytes, status: int = 200, headers: Iterable[Header] = ()) -> None:
        # Not super().__init__(): it would search the headers for what is known here.
        self.status_code = status
        self.body = body
        self.background = None
        self.raw_headers = [_JSON, (b"content-length", b"%d" % len(body)), *headers]


def no_content() -> Response:
    """The answer of a successful DELETE."""
    return Response(status_code=204)
