"""A client that posts to checked targets, over connections to the very addresses checked."""

from __future__ import annotations

import asyncio
import errno
import math
import socket
import ssl
from collections.abc import Mapping
from contextlib import AsyncExitStack
from contextvars import ContextVar
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

import aiohttp
from aiohttp import AddrInfoType, SocketFactoryType
from aiohttp.abc import AbstractResolver, ResolveResult
from yarl import URL

from egress.answers import MOST_READ, Answer, kept_headers, read_start
from egress.failures import FOREIGN, CallFailed, call_failed
from egress.resolver import Resolver, SystemResolver
from egress.targets import EgressPolicy, ForbiddenTarget, Target, Unresolvable
from telemetry import logs

__all__ = ["Answer", "CallFailed", "EgressClient", "Limits"]

log = logs.get(__name__)

#: What a connection is made of is not the caller's to say.
_OURS = frozenset({"accept-encoding", "connection", "content-length", "host", "transfer-encoding"})


@dataclass(frozen=True)
class Limits:
    """How many connections there may be, and for how long one may wait for its next call."""

    connections: int = 512
    per_host: int = 8
    idle_s: float = 15.0


@dataclass
class _Call:
    """One call: what goes where, by when, and the addresses that the policy let through for it."""

    target: Target
    body: bytes
    headers: Mapping[str, str]
    #: On the loop's clock.
    deadline: float
    connect_s: float
    checked: set[str] = field(default_factory=set)
    #: Whether a connection to any other address was tried.
    strayed: bool = False


#: The call that a connection is made for. aiohttp tells neither its resolver nor its socket
#: factory, but both run in the call's own context.
_calling: ContextVar[_Call] = ContextVar("egress_call")


def open_socket(info: AddrInfoType) -> socket.socket:
    """Open a socket for which the kernel keeps kilobytes, not megabytes, that nobody reads."""
    family, kind, protocol, _, _ = info
    opened = socket.socket(family, kind, protocol)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2 * MOST_READ)
    return opened


def _verifying() -> ssl.SSLContext:
    context = ssl.create_default_context()
    # Some balancers close on whoever does not say what it speaks.
    context.set_alpn_protocols(["http/1.1"])
    return context


class EgressClient:
    """Posts to targets that its policy lets through; its connections live as long as the `with`.

    It knows no proxies, no redirects and no cookies, and never inflates an answer.
    """

    def __init__(
        self,
        policy: EgressPolicy,
        *,
        resolver: Resolver | None = None,
        ssl_context: ssl.SSLContext | None = None,
        limits: Limits | None = None,
        open_socket: SocketFactoryType = open_socket,
    ) -> None:
        self._policy = policy
        self._resolver = resolver
        self._ssl_context = ssl_context
        self._limits = limits or Limits()
        self._open_socket = open_socket
        self._lifetime = AsyncExitStack()

    async def __aenter__(self) -> Self:
        resolver = self._resolver
        if resolver is None:
            resolver = await self._lifetime.enter_async_context(SystemResolver())
        connector = aiohttp.TCPConnector(
            ssl=self._ssl_context or _verifying(),
            resolver=_CheckedResolver(self._policy, resolver),
            use_dns_cache=False,
            socket_factory=self._socket_to_checked,
            limit=self._limits.connections,
            limit_per_host=self._limits.per_host,
            keepalive_timeout=self._limits.idle_s,
        )
        session = aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            trust_env=False,
            auto_decompress=False,
            headers={"Accept-Encoding": "identity", "User-Agent": "Headrace"},
            read_bufsize=MOST_READ,
        )
        self._session = await self._lifetime.enter_async_context(session)
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._lifetime.aclose()

    async def post(
        self,
        url: str,
        body: bytes,
        headers: Mapping[str, str],
        timeout_s: float = 15.0,
        connect_s: float = 5.0,
    ) -> Answer:
        """Return the answer whatever its status; CallFailed if its head did not come in time."""
        if ours := _OURS.intersection(name.lower() for name in headers):
            raise ValueError(f"not the caller's to set: {', '.join(sorted(ours))}")
        clock = asyncio.get_running_loop().time
        began = clock()
        call = _Call(self._checked(url), body, headers, began + timeout_s, connect_s)
        response = await self._answered(call)
        try:
            start, read = await read_start(response, call.deadline)
        finally:
            # A connection whose answer was read to its end is back in the pool by now.
            response.close()
        return Answer(response.status, kept_headers(response), start, read, clock() - began)

    def _checked(self, url: str) -> Target:
        try:
            return self._policy.check_url(url)
        except ForbiddenTarget as error:
            raise call_failed(error) from error

    async def _answered(self, call: _Call) -> aiohttp.ClientResponse:
        if call.target.address is not None:
            # aiohttp asks no resolver about an address: the check of the URL was its check.
            call.checked.add(call.target.address)
        context = _calling.set(call)
        try:
            async with asyncio.timeout_at(call.deadline):
                return await self._session.post(
                    URL(call.target.url, encoded=True),
                    data=call.body,
                    headers=call.headers,
                    allow_redirects=False,
                    timeout=aiohttp.ClientTimeout(
                        sock_connect=call.connect_s, ceil_threshold=math.inf
                    ),
                )
        except (*FOREIGN, ForbiddenTarget, Unresolvable) as error:
            if call.strayed:
                raise CallFailed("forbidden", "the address was not checked") from error
            raise call_failed(error) from error
        finally:
            _calling.reset(context)

    def _socket_to_checked(self, info: AddrInfoType) -> socket.socket:
        """Open a socket, the last thing before it is connected to the address in `info`."""
        call = _calling.get()
        if info[4][0] not in call.checked:
            call.strayed = True
            log.error("egress_strayed", host=call.target.host)
            raise PermissionError(errno.EACCES, "the address was not checked")
        return self._open_socket(info)


class _CheckedResolver(AbstractResolver):
    """Asked by aiohttp once for each new connection: what it checked is what is connected to."""

    def __init__(self, policy: EgressPolicy, resolver: Resolver) -> None:
        self._policy = policy
        self._resolver = resolver

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Return the addresses that the policy lets through, and note them in the call."""
        call = _calling.get()
        try:
            async with asyncio.timeout(call.connect_s):
                addresses = await self._policy.resolve(call.target, self._resolver)
        except TimeoutError:
            raise Unresolvable("the name could not be looked up in time") from None
        call.checked.update(addresses)
        return [
            ResolveResult(hostname=host, host=each, port=port, family=family, proto=0, flags=0)
            for each in addresses
        ]

    async def close(self) -> None:
        """Nothing is held here."""
