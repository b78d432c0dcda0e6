"""Made-up servers for the tests of the Python client."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import httpx

from headrace import Client

Handler = Callable[[httpx.Request], httpx.Response]


def job(number: int = 0, status: str = "queued", **members: Any) -> dict[str, Any]:
    return {"id": f"job_{number}", "model": "echo", "version": "1", "status": status, **members}


def answer(status: int, content: Any, **headers: str) -> httpx.Response:
    return httpx.Response(status, json=content, headers=headers)


def problem(status: int, code: str, *, retryable: bool = False, **headers: str) -> httpx.Response:
    members = {"code": code, "detail": "so it is", "retryable": retryable, "request_id": "r1"}
    return answer(status, members, **headers)


class Script:
    """Answers in the given order, the last one for ever, and remembers what was asked."""

    def __init__(self, *answers: httpx.Response | Exception) -> None:
        self.answers = list(answers)
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        chosen = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(chosen, Exception):
            raise chosen
        return chosen

    def sent(self, number: int = 0) -> Any:
        return json.loads(self.requests[number].content)


def client(handler: Handler, **options: Any) -> Client:
    return Client("http://test", transport=httpx.MockTransport(handler), **options)
