"""Which URLs may be called, and to which addresses a call of one may go."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from ipaddress import IPv6Network, ip_network
from typing import Self
from urllib.parse import quote

from egress import hosts
from egress.addresses import Network, may_call
from egress.addresses import contains as any_contains
from egress.hosts import ForbiddenTarget
from egress.resolver import Resolver

__all__ = ["EgressPolicy", "ForbiddenTarget", "Target", "Unresolvable"]

LONGEST_URL = 2048

_PORTS = {"http": 80, "https": 443}
#: Stricter than RFC 3986 on purpose: what two parsers could read in two ways is not read at all.
_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://([^/?#]*)(.*)", re.DOTALL)
_AUTHORITY = re.compile(r"(?:\[([^\[\]]*)\]|([^:\[\]]*))(?::([1-9][0-9]{0,4}))?", re.ASCII)
#: What may stand in a path and a query as it is; the rest is percent-encoded.
_KEPT = "%!$&'()*+,;=:@/?~-._"
#: Addresses are compared as IPv4, so that an entry in here would never match.
_MAPPED = IPv6Network("::ffff:0:0/96")
_NOT_PUBLIC = "the address is not public"


class Unresolvable(Exception):
    """The name has no address, or none could be found out."""


@dataclass(frozen=True)
class Target:
    """A URL that may be called, taken apart."""

    scheme: str
    #: Lower-case ASCII; an IPv6 address has no brackets here.
    host: str
    port: int
    #: With the query, as it goes over the wire.
    path: str
    #: The host, where it is an address.
    address: str | None = None

    @property
    def origin(self) -> str:
        """Scheme, host and port, the same for every path there; a usual port is left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + (
            "" if self.port == _PORTS[self.scheme] else f":{self.port}"
        )

    @property
    def url(self) -> str:
        """The URL in its one normal form: the key of an endpoint."""
        return self.origin + self.path


@dataclass(frozen=True)
class EgressPolicy:
    """What may be called; what `allow` has wins over every denial, at any port, with http too."""

    #: Networks that may be called although they are not public.
    allow: tuple[Network, ...] = ()
    #: Names whose addresses are not looked at; `*.example.internal` is every name below it.
    names: frozenset[str] = frozenset()
    #: Networks that may not be called although they are public: a cluster's own.
    deny: tuple[Network, ...] = ()
    ports: frozenset[int] = frozenset({443})

    @classmethod
    def parse(
        cls, allow: Sequence[str], deny: Sequence[str] = (), ports: Iterable[int] = (443,)
    ) -> Self:
        """Read settings; a ValueError names the entry that is neither a network nor a name."""
        networks, names = [], []
        for entry in allow:
            if "/" in entry or ":" in entry or _is_address(entry):
                networks.append(_network(entry))
            else:
                names.append(_name(entry))
        denied = [_network(entry) for entry in deny]
        ports = frozenset(ports)
        for port in ports:
            if not 1 <= port <= 65535:
                raise ValueError(f"{port} is not a port")
        return cls(tuple(networks), frozenset(names), tuple(denied), ports)

    def check_url(self, url: str) -> Target:
        """Return the target, or raise ForbiddenTarget; no name is looked up."""
        scheme, authority, path = _split(url)
        match = _AUTHORITY.fullmatch(authority)
        if not match or int(match[3] or 0) > 65535:
            raise ForbiddenTarget("host and port cannot be read")
        host = hosts.ipv4_or_name(match[2]) if match[1] is None else hosts.ipv6(match[1])
        port = int(match[3] or _PORTS[scheme])
        if isinstance(host, str):
            allowed, address = self._is_named(host), None
        else:
            allowed, address = any_contains(self.allow, host), str(host)
            if not may_call(host, self.allow, self.deny):
                raise ForbiddenTarget(_NOT_PUBLIC)
        if scheme == "http" and not allowed:
            raise ForbiddenTarget("the scheme must be https")
        if port not in self.ports and not allowed:
            raise ForbiddenTarget(f"port {port} is not among those that may be called")
        target = Target(scheme, str(host), port, path, address)
        # Encoding makes it longer: what is kept of a target must be a target again.
        _refuse_longer(target.url)
        return target

    async def resolve(self, target: Target, resolver: Resolver) -> list[str]:
        """Return the addresses to connect to; ForbiddenTarget if a single one may not be."""
        if target.address is None:
            answers = await _look_up(target.host, target.port, resolver)
        else:
            answers = [target.address]
        # One bad answer among good ones is a rebinding name, not a receiver.
        callable_ = (may_call(answer, self.allow, self.deny) for answer in answers)
        if not self._is_named(target.host) and not all(callable_):
            raise ForbiddenTarget(_NOT_PUBLIC)
        return answers

    def _is_named(self, host: str) -> bool:
        above = host.split(".")
        suffixes = ("*." + ".".join(above[start:]) for start in range(1, len(above)))
        return host in self.names or not self.names.isdisjoint(suffixes)


async def _look_up(host: str, port: int, resolver: Resolver) -> list[str]:
    try:
        answers = await resolver.resolve(host, port)
    except OSError as error:
        raise Unresolvable("the name could not be looked up") from error
    if not answers:
        raise Unresolvable("the name has no address")
    return answers


def _refuse_longer(url: str) -> None:
    if len(url) > LONGEST_URL:
        raise ForbiddenTarget(f"the URL is longer than {LONGEST_URL} characters")


def _split(url: str) -> tuple[str, str, str]:
    _refuse_longer(url)
    if any(mark == "\\" or unicodedata.category(mark)[0] in "CZ" for mark in url):
        raise ForbiddenTarget("the URL has a space, a backslash or a character that is not seen")
    match = _URL.fullmatch(url)
    if not match or match[1].lower() not in _PORTS:
        raise ForbiddenTarget("the URL must begin with https://")
    scheme, authority, rest = match.groups()
    if "@" in authority:
        raise ForbiddenTarget("the URL must not carry a user or a password")
    if "%" in authority:
        raise ForbiddenTarget("the host must not be percent-encoded or name an interface")
    if "#" in rest:
        raise ForbiddenTarget("the URL must not have a fragment")
    path, _, query = quote(rest, safe=_KEPT).partition("?")
    return scheme.lower(), authority, (path or "/") + (f"?{query}" if query else "")


def _is_address(entry: str) -> bool:
    """Return whether an entry can be no name: its last label is a number."""
    return entry.rpartition(".")[2].isdigit()


def _network(entry: str) -> Network:
    """Return the network of an entry; an address is a network of one."""
    if "%" in entry:
        raise ValueError(f"{entry!r} is not a network: it names an interface")
    try:
        network = ip_network(entry)
    except ValueError as error:
        raise ValueError(f"{entry!r} is not a network: {error}") from error
    if isinstance(network, IPv6Network) and network.subnet_of(_MAPPED):
        raise ValueError(f"{entry!r} must be written as an IPv4 network")
    return network


def _name(entry: str) -> str:
    """Return an entry that is a host name, or every name below one, in lower-case ASCII."""
    star, name = ("*.", entry[2:]) if entry.startswith("*.") else ("", entry)
    try:
        return star + str(hosts.ipv4_or_name(name))
    except ForbiddenTarget as error:
        raise ValueError(f"{entry!r} is neither a network nor a name: {error.reason}") from error
