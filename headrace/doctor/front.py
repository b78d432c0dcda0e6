"""An API, as its clients see it."""

from __future__ import annotations

import httpx

from headrace.doctor.check import Check, error, ok

_TIMEOUT_S = 5.0


async def front(url: str) -> list[Check]:
    """Ask an API whether it can accept jobs."""
    try:
        async with httpx.AsyncClient(base_url=url, timeout=_TIMEOUT_S) as http:
            answer = await http.get("/healthz")
    except (httpx.HTTPError, httpx.InvalidURL) as away:
        says = f"no answer from {url}: {str(away) or type(away).__name__}"
        return [error("api", says, "Is it started, and is that its address?")]
    if answer.is_success:
        return [ok("api", f"{url} accepts jobs")]
    return [error("api", f"{url} answers {answer.status_code}: {_detail(answer)}")]


def _detail(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["detail"])
    except (ValueError, KeyError, TypeError):
        return answer.text[:200]
