"""FastAPI routes that cost as little as plain ASGI handlers.

FastAPI matches a request against its routes twice and solves a handler's dependencies anew each
time, with three exit stacks and a copy of every parameter; that alone is more than a submit costs.
A handler here takes only what needs none of it: the request, path parameters, a model of the query,
and `Depends` on a coroutine function of the request. It returns a Response. To OpenAPI it is a
route like any other.
"""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, get_type_hints

from fastapi.exceptions import RequestValidationError
from fastapi.params import Depends, Query
from fastapi.routing import APIRoute
from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import BaseRoute
from starlette.types import ASGIApp, Receive, Scope, Send

Dependency = Callable[[Request], Awaitable[Any]]


class LeanRoute(APIRoute):
    """An APIRoute whose handler is called directly."""

    def __init__(self, path: str, endpoint: Callable[..., Any], **options: Any) -> None:
        super().__init__(path, endpoint, **options)
        self.app = _direct(endpoint, frozenset(self.param_convertors))


class LeanRouter:
    """Hands a request to the LeanRoute that matches it; to the framework's router if none does."""

    def __init__(self, routes: Sequence[BaseRoute], otherwise: ASGIApp) -> None:
        """Take the lean ones among `routes`, in their order."""
        self._routes = [
            (route.path_regex.match, route.methods or set(), route)
            for route in routes
            if isinstance(route, LeanRoute)
        ]
        self._otherwise = otherwise

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request of HTTP; the lifespan and all else is the framework's."""
        if scope["type"] != "http":
            await self._otherwise(scope, receive, send)
            return
        path, method = scope["path"], scope["method"]
        for match, methods, route in self._routes:
            if method in methods and (found := match(path)) is not None:
                scope["route"] = route
                scope["path_params"] = found.groupdict()
                await route.app(scope, receive, send)
                return
        await self._otherwise(scope, receive, send)


def _direct(endpoint: Callable[..., Awaitable[Response]], path: frozenset[str]) -> ASGIApp:
    hints = get_type_hints(endpoint, include_extras=True)
    names = list(inspect.signature(endpoint).parameters)
    requests = [name for name in names if hints[name] is Request]
    parameters = [name for name in names if name in path]
    dependencies = [(name, found) for name in names if (found := _dependency(hints[name]))]
    rest = set(names) - {*requests, *parameters, *(name for name, _ in dependencies)}
    if rest:
        raise TypeError(f"{endpoint.__name__}() has parameters a LeanRoute cannot fill: {rest}")

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        arguments: dict[str, Any] = dict.fromkeys(requests, request)
        for name in parameters:
            arguments[name] = scope["path_params"][name]
        for name, dependency in dependencies:
            arguments[name] = await dependency(request)
        response = await endpoint(**arguments)
        await response(scope, receive, send)

    return app


def _dependency(hint: Any) -> Dependency | None:
    for mark in getattr(hint, "__metadata__", ()):
        if isinstance(mark, Query):
            return _query(hint.__origin__)
        if isinstance(mark, Depends):
            if not inspect.iscoroutinefunction(mark.dependency):
                raise TypeError(f"{mark.dependency} is not a coroutine function of the request")
            return mark.dependency
    return None


def _query(model: type[BaseModel]) -> Dependency:
    nothing_asked = model()

    async def read(request: Request) -> BaseModel:
        if not request.scope["query_string"]:
            return nothing_asked
        given = request.query_params
        try:
            return model.model_validate({name: given[name] for name in given})
        except ValidationError as error:
            raise RequestValidationError(
                [{**one, "loc": ("query", *one["loc"])} for one in error.errors()]
            ) from error

    return read
